"""Figure 1 (i): how much of a normal image attention covers, before and after L_ae, and in r-w of each class."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.benchmark.experiments.figures import WITHOUT_EXPANSION
from cavga.benchmark.figures.files import Drawing
from cavga.benchmark.figures.finished_runs import FinishedRun, by_place, maps_of, photograph_of, shared_images
from cavga.benchmark.figures.strips import SIDE
from cavga.benchmark.tables.html import html_lines
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.evaluation.attention_rows import AttentionCase, attention_figure, attention_row
from cavga.evaluation.results import ScoredImage, has_known_mask, median_image, true_mask
from cavga.images.resize import resize_mask
from cavga.inference.detector import AnomalyDetector
from cavga.rendering.html import hint

TITLE = "Figure 1 (i): attention on normal images"
NUM_SHOWN = 3
HALF = 0.5  # of A: the paper's threshold on the map 1 - A
RULE = (
    f"The {NUM_SHOWN} pictures are of the good test images at equal steps through their list, sorted by path: none is "
    "picked by hand. Dark is 0, bright is 1. The table is over all good test images: the mean of A, and the share of "
    "pixels with A above 0.5, which are those that the paper's rule calls normal. The paper says that attention "
    "without L_ae fails to cover the image, and that L_ae makes it."
)
CLASS_RULE = (
    "A^cn is the attention of the normal class, A^ca that of the anomalous one. On good images the paper wants A^cn "
    "to cover all and A^ca nothing, on defective ones the two to be complementary."
)


def draw(runs: Sequence[FinishedRun]) -> Drawing:
    """Figure 1 (i) from the runs of experiments.figures.fig1_experiments."""
    body, coverage, shown = "", [], {}
    for place, of_place in by_place(runs).items():
        unsupervised = [run for run in of_place if run.experiment.supervision == "u"]
        weak = [run for run in of_place if run.experiment.supervision == "w"]
        parts, lines = [], []
        if unsupervised:
            paths, pictures, found = _expansion(unsupervised)
            shown[place] = paths
            lines += found
            parts.append(f"<h3>Before and after L_ae</h3>{hint(RULE)}{_table(found)}{pictures}")
        for run in weak:
            pictures, found = _classes(run)
            lines += found
            parts.append(f"{pictures}{hint(CLASS_RULE)}{_table(found)}")
        coverage += [{"place": place, **line} for line in lines]
        body += f"<section><h2>{place}</h2>{''.join(parts)}</section>"
    return Drawing(body, {"coverage": coverage, "shown": shown})


def equal_steps(images: Sequence[ScoredImage], number: int) -> list[ScoredImage]:
    """So many of the images at equal steps through their list, sorted by path; all of them if there are no more."""
    ordered = sorted(images, key=lambda image: image.record.relative_path)
    if len(ordered) <= number:
        return ordered
    return [ordered[(2 * i + 1) * len(ordered) // (2 * number)] for i in range(number)]


def _expansion(runs: Sequence[FinishedRun]) -> tuple[list[str], str, list[dict[str, Any]]]:
    """Of the runs of a u variant: paths shown, their rows, and the coverage over all good test images."""
    good = [image for image in shared_images(runs) if image.record.label == NORMAL]
    shown, lines = equal_steps(good, NUM_SHOWN), []
    rows: list[list[tuple[str, str, NDArray[np.float32]]]] = [[] for _ in shown]
    for run in runs:
        detector, name = run.detector(), run.experiment.name
        title = "A without L_ae" if name.endswith(WITHOUT_EXPANSION) else "A with L_ae"
        lines.append({"model": name, "map": "A", **_coverage(1 - found for found in maps_of(detector, good))})
        for row, found in zip(rows, maps_of(detector, shown), strict=True):
            row.append((title, title, 1 - found))  # the anomaly map of preset paper is 1 - A
    pictures = "".join(
        attention_row(image.record.relative_path, NORMAL, photograph_of(image.record, longer_side=SIDE), row)
        for image, row in zip(shown, rows, strict=True)
    )
    return [image.record.relative_path for image in shown], f'<div class="gallery">{pictures}</div>', lines


def _classes(run: FinishedRun) -> tuple[str, list[dict[str, Any]]]:
    """Of a run of a w variant: the attention of both classes in pictures, and its coverage of all test images."""
    detector, cases, lines = run.detector(), [], []
    for label in (NORMAL, ANOMALOUS):
        images = run.with_label(label)
        if not images:
            continue
        pairs = [detector.class_attention(image.record.path) for image in images]
        for position, symbol in enumerate(("A^cn", "A^ca")):
            kind = ("good", "defective")[label]
            covered = _coverage(pair[position] for pair in pairs)
            lines.append({"model": run.experiment.name, "map": f"{symbol}, {kind} images", **covered})
        cases.append(_case(median_image(images), detector))
    return attention_figure(cases), lines


def _case(image: ScoredImage, detector: AnomalyDetector) -> AttentionCase:
    photograph = photograph_of(image.record, longer_side=SIDE)
    mask = resize_mask(true_mask(image, None), photograph.shape[:2]) if has_known_mask(image) else None
    normal, anomalous = detector.class_attention(image.record.path)
    return AttentionCase(image.record.relative_path, image.record.label or 0, photograph, normal, anomalous, mask)


def _coverage(maps: Iterable[NDArray[np.float32]]) -> dict[str, Any]:
    """Mean of A and share of pixels above 0.5, over all maps."""
    pairs = [(float(found.mean()), float((found > HALF).mean())) for found in maps]
    if not pairs:
        return {"images": 0, "mean": None, "share_above_half": None}
    mean, share = np.mean(pairs, axis=0).tolist()
    return {"images": len(pairs), "mean": mean, "share_above_half": share}


def _table(lines: Sequence[dict[str, Any]]) -> str:
    return html_lines([
        {
            "model": line["model"],
            "map": line["map"],
            "test images": line["images"],
            "mean of A": "-" if line["mean"] is None else f"{line['mean']:.3f}",
            "A above 0.5": "-" if line["mean"] is None else f"{line['share_above_half']:.1%}",
        }
        for line in lines
    ])  # fmt: skip
