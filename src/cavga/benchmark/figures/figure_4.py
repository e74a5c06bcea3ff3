"""Figure 4: where r-u and r-w fail, and whether that is where the defect has a low contrast, as the paper says."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from statistics import mean, median
from typing import Any

from cavga.benchmark.figures.contrast import DEFINITION, bin_names, bin_of, contrast_of, rank_correlation
from cavga.benchmark.figures.files import Drawing
from cavga.benchmark.figures.finished_runs import FinishedRun, Overlap
from cavga.benchmark.figures.strips import READING, ModelMap, model_maps, strip
from cavga.benchmark.tables.html import html_lines
from cavga.data.records import ANOMALOUS
from cavga.evaluation.results import ScoredImage, true_mask
from cavga.images.decode import read_image
from cavga.images.resize import resized
from cavga.rendering.html import hint

TITLE = "Figure 4: where localization fails"
NUM_WORST = 6
CLAIM = (
    "The paper's claim is that the anomaly is not localized well where the contrast between it and its background is "
    "low. So IoU should grow with contrast. The table has the defective test images with a mask by the contrast of "
    "their defect: means over images. Small defects have a low IoU whatever their contrast, and defects of high "
    "contrast may be the small ones: the last column says how large they are, and the verdict is of Spearman's rank "
    "correlation with the defect's share of the image held fixed (partial), with its 95 % bootstrap interval."
)
WORST = f"The {NUM_WORST} defective images with the lowest IoU; of equal ones the larger defect first, then by path."


@dataclass(frozen=True, eq=False)
class Failure:
    """One defective test image under one model."""

    run: FinishedRun
    image: ScoredImage
    overlap: Overlap
    contrast: float | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.run.experiment.name,
            "place": self.run.place,
            "path": self.image.record.relative_path,
            "defect_type": self.image.record.defect_type,
            **asdict(self.overlap),
            "contrast": self.contrast,
        }


def draw(runs: Sequence[FinishedRun]) -> Drawing:
    """Figure 4 from the runs of experiments.figures.fig4_experiments, each model over all its categories together."""
    by_model: dict[str, list[Failure]] = {}
    contrasts: dict[tuple[Any, ...], float | None] = {}
    for run in runs:
        by_model.setdefault(run.experiment.name, []).extend(_failures(run, contrasts))
    bins = {name: _bins(found) for name, found in by_model.items()}
    correlations = {name: _correlation(found) for name, found in by_model.items()}
    facts = {
        "bins": bins,
        "rank_correlation": correlations,
        "images": [failure.as_dict() for found in by_model.values() for failure in found],
    }
    sections = "".join(
        _section(name, found, bins[name], correlations[name]) for name, found in by_model.items() if found
    )
    return Drawing(hint(CLAIM) + hint(DEFINITION) + sections + (hint(READING) if sections else ""), facts)


def _failures(run: FinishedRun, contrasts: dict[tuple[Any, ...], float | None]) -> list[Failure]:
    """Every defective image with a mask; `contrasts` keeps those of other models with the same input size."""
    size, found = run.experiment.config().data.input_size, []
    for image in run.with_label(ANOMALOUS):
        path = image.record.relative_path
        overlap, key = run.overlaps.get(path), (run.place, path, size)
        if overlap is None:
            continue
        if key not in contrasts:
            contrasts[key] = contrast_of(resized(read_image(image.record.path), size), true_mask(image, size))
        found.append(Failure(run, image, overlap, contrasts[key]))
    return found


def _bins(found: Sequence[Failure]) -> list[dict[str, Any]]:
    lines = []
    for name in [*bin_names(), "not measurable", "all"]:
        of_bin = [failure for failure in found if name in ("all", _bin(failure))]
        if of_bin or name != "not measurable":
            lines.append({"contrast": name, **_means([failure.overlap for failure in of_bin])})
    return lines


def _bin(failure: Failure) -> str:
    return "not measurable" if failure.contrast is None else bin_of(failure.contrast)


def _means(overlaps: Sequence[Overlap]) -> dict[str, Any]:
    if not overlaps:
        return {"images": 0, "iou": None, "recall": None, "iou_0": None, "median_defect_share": None}
    return {
        "images": len(overlaps),
        "iou": mean(overlap.iou for overlap in overlaps),
        "recall": mean(overlap.recall for overlap in overlaps),
        "iou_0": sum(overlap.iou == 0 for overlap in overlaps) / len(overlaps),
        "median_defect_share": median(overlap.defect_share for overlap in overlaps),
    }


def _correlation(found: Sequence[Failure]) -> dict[str, Any]:
    """Of contrast and IoU: by themselves, and with the defect's size held fixed; None where it is not defined."""
    known = [(f.contrast, f.overlap.iou, f.overlap.defect_share) for f in found if f.contrast is not None]
    columns = [[case[i] for case in known] for i in range(3)]
    by_name = {
        "plain": rank_correlation(columns[0], columns[1]),
        "size_held_fixed": rank_correlation(columns[0], columns[1], given=columns[2]),
    }
    return {"images": len(known)} | {
        name: None if value is None else {"rho": value[0], "interval": value[1]} for name, value in by_name.items()
    }


def _section(name: str, found: Sequence[Failure], bins: Sequence[dict[str, Any]], correlation: dict[str, Any]) -> str:
    lines = [
        {
            "contrast": line["contrast"],
            "defective images": line["images"],
            "IoU": _text(line["iou"], ".3f"),
            "recall of pixels": _text(line["recall"], ".3f"),
            "IoU is 0": _text(line["iou_0"], ".0%"),
            "median share of image": _text(line["median_defect_share"], ".2%"),
        }
        for line in bins
    ]
    ordered = sorted(found, key=lambda f: (f.overlap.iou, -f.overlap.defect_share, f.run.place,
                                           f.image.record.relative_path))  # fmt: skip
    return (
        f"<section><h2>{escape(name)}</h2><p>{escape(_verdict(correlation))}</p>{html_lines(lines)}"
        f'<h3>Worst</h3>{hint(WORST)}<div class="short">{"".join(map(_strip, ordered[:NUM_WORST]))}</div></section>'
    )


def _verdict(correlation: dict[str, Any]) -> str:
    plain, partial = correlation["plain"], correlation["size_held_fixed"]
    over = f"Over {correlation['images']} defective images:"
    if plain is None or partial is None:
        return f"{over} too few, or all alike: whether IoU goes by contrast cannot be told."
    low, high = partial["interval"]
    said = "no relation of IoU and contrast that could not be chance"
    if low > 0:
        said = "IoU grows with contrast, as the paper says"
    elif high < 0:
        said = "IoU falls with contrast, against what the paper says"
    return f"{over} {said}: {_rho(partial)} at a fixed size of the defect; {_rho(plain)} without regard to it."


def _rho(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"rank correlation {found['rho']:+.2f} ({low:+.2f} to {high:+.2f})"


def _strip(failure: Failure) -> str:
    models: list[ModelMap] = model_maps(failure.run, failure.run.experiment.name, [failure.image])
    contrast = "not measurable" if failure.contrast is None else f"{failure.contrast:.2f}"
    said = f"contrast {contrast}, {failure.overlap.defect_share:.2%} of the image"
    return strip(failure.image, models, title=failure.run.place, hint=said)


def _text(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
