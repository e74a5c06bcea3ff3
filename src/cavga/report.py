"""report.html: one self-contained page that says how good a model is and shows where it fails.

Nothing is fetched: pictures are data URIs, there is no script, and the page forbids requests itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.attention_figure import AttentionCase, attention_figure
from cavga.files import atomic_write
from cavga.pictures import STYLE, data_uri, legend, panels, score_histogram

MAX_CASES = 24
NUM_NOTES = 8  # in full view; the others can be unfolded
PANEL_SIDE = 304  # px of the longer side: sharp at the shown size, and 3 x 24 cases stay below 8 MB
# (label, is_anomalous) -> what to call it, in the order of display.
VERDICTS = {
    (1, False): "missed",
    (0, True): "false alarm",
    (1, True): "found",
    (0, False): "correctly passed",
    (None, True): "called anomalous",
    (None, False): "called normal",
}
MIN_CASES = {"found": 4, "correctly passed": 2, "false alarm": 4}  # shown however many are missed

_NOT_COMPUTABLE = '<span class="none">not computable</span>'
_WORDS = ((1, "defective", "found"), (0, "good", "called anomalous"), (None, "unlabelled", "called anomalous"))
_SUMMARY_KEYS = (("image", "auroc"), ("pixel", "auroc"), ("pixel", "aupro"))
_TYPE_KEYS = ("image_auroc", "pixel_auroc", "aupro")
_RATES = ("balanced_accuracy", "recall", "false_alarm_rate")  # shown in percent
_METRICS = (
    ("image", "auroc", "Image AUROC", "how often a defective image scores above a good one; 0.5 is chance"),
    ("image", "balanced_accuracy", "Balanced accuracy", "right decisions, good and defective counted alike"),
    ("image", "recall", "Recall", "defective images that were found"),
    ("image", "false_alarm_rate", "False alarm rate", "good images called anomalous"),
    (
        "pixel",
        "auroc",
        "Pixel AUROC",
        "how often a defective pixel lies above a good one; large defects dominate",
    ),
    (
        "pixel",
        "aupro",
        "AUPRO",
        "share of each defect that is covered, small ones alike; false positives up to 30%",
    ),
    (
        "pixel",
        "iou_dataset",
        "IoU at the threshold",
        "overlap of marked and true pixels, over the whole test set",
    ),
    (
        "pixel",
        "iou_dataset_oracle",
        "IoU, oracle",
        "oracle: threshold chosen on the test masks; not reachable in use",
    ),
)


@dataclass(frozen=True, eq=False)
class Case:
    """One image to show; `label` is 0 (good), 1 (defective) or None, `mask` None where it is not known."""

    path: str
    label: int | None
    defect_type: str | None
    score: float
    threshold: float
    is_anomalous: bool
    photograph: NDArray[np.uint8]
    anomaly_map: NDArray[np.float32]
    pixel_threshold: float
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Section:
    """One evaluation: the content of metrics.json, (score, label) of every image, cases in display order.

    `attention` is what the classifier of a w variant attends to.
    """

    title: str
    metrics: Mapping[str, Any]
    scores: Sequence[tuple[float, int | None]]
    cases: Sequence[Case]
    notes: Sequence[str]
    attention: Sequence[AttentionCase] = ()


def choose_cases(predictions: Sequence[tuple[float, int | None, bool]], *, maximum: int = MAX_CASES) -> list[int]:
    """Which (score, label, is_anomalous) to show, worst first: the indices in display order.

    Missed defects by lowest score, false alarms by highest, found defects by lowest, passed ones by
    highest, then those without a label. At most half of the places are kept free by MIN_CASES.
    """
    by_verdict: dict[str, list[int]] = {verdict: [] for verdict in VERDICTS.values()}
    for i, (_, label, is_anomalous) in enumerate(predictions):
        by_verdict[VERDICTS[label, is_anomalous]].append(i)
    for verdict, members in by_verdict.items():
        members.sort(key=lambda i: predictions[i][0], reverse=verdict not in ("missed", "found"))
    taken = dict.fromkeys(by_verdict, 0)
    free = maximum // 2
    for verdict, minimum in MIN_CASES.items():
        taken[verdict] = min(minimum, len(by_verdict[verdict]), free)
        free -= taken[verdict]
    free = maximum - sum(taken.values())
    for verdict, members in by_verdict.items():
        more = min(len(members) - taken[verdict], free)
        taken[verdict] += more
        free -= more
    return [i for verdict, members in by_verdict.items() for i in members[: taken[verdict]]]


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the page; every text is escaped, what could not be computed says so."""
    body = "".join(_section(section, i) for i, section in enumerate(sections))
    summary = _summary(sections) if len(sections) > 1 else ""
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>{summary}</header>\n<main>{body}</main></body></html>\n"
    )
    # A file name that is no valid text (a lone surrogate, from a Linux folder) must not lose the report.
    atomic_write(path, page.encode("utf-8", errors="replace"))


def _summary(sections: Sequence[Section]) -> str:
    rows = [
        f'<tr><th scope="row"><a href="#section-{i}">{escape(section.title)}</a></th><td>{_share(section, 1)}</td>'
        f"<td>{_share(section, 0)}</td>{_cells(section.metrics, _SUMMARY_KEYS)}</tr>"
        for i, section in enumerate(sections)
    ]
    columns = ("", "defects found", "false alarms", "image AUROC", "pixel AUROC", "AUPRO")
    return _table("All sections", columns, rows)


def _section(section: Section, index: int) -> str:
    metrics = section.metrics
    histogram = score_histogram(section.scores, _number(metrics, "image", "threshold"))
    plot = f'<figure class="plot"><figcaption>Scores of the test images</figcaption>{histogram}</figure>'
    return (
        f'<section id="section-{index}"><h2>{escape(section.title)}</h2>'
        f'<p class="verdict">{_sentence(section)}</p>{_facts("Images", metrics.get("counts"))}'
        f'<div class="columns"><div>{_metrics_table(section)}</div>'
        f"<div>{plot if histogram else ''}{_by_type_table(metrics)}</div></div>"
        f"{_notes(section.notes)}{attention_figure(section.attention)}{_gallery(section)}"
        f"{_facts('Provenance', metrics.get('provenance'))}</section>\n"
    )


def _num_called(section: Section, label: int | None) -> tuple[int | None, int]:
    """How many images with this label are called anomalous (None without a threshold), of how many."""
    scores = [score for score, known in section.scores if known == label]
    threshold = _number(section.metrics, "image", "threshold")
    return (None if threshold is None else sum(score >= threshold for score in scores)), len(scores)


def _share(section: Section, label: int | None) -> str:
    num_called, total = _num_called(section, label)
    return f"{num_called} of {total}" if total and num_called is not None else _NOT_COMPUTABLE


def _sentence(section: Section) -> str:
    """The result in plain words."""
    parts = []
    for label, name, verb in _WORDS:
        num_called, total = _num_called(section, label)
        if num_called is None:
            return f"{len(section.scores)} images were scored; without a threshold none was judged."
        if total:
            was = "was" if num_called == 1 else "were"
            images = "image" if total == 1 else "images"
            parts.append(f"of <b>{total}</b> {name} {images} <b>{num_called}</b> {was} {verb}")
    text = "; ".join(parts) or "no image was scored"
    return f"{text[0].upper()}{text[1:]}."


def _facts(name: str, facts: Mapping[str, Any] | None) -> str:
    texts = [f"{escape(key.replace('_', ' '))} {escape(str(value))}" for key, value in (facts or {}).items()]
    return f'<p class="hint">{name}: {" · ".join(texts)}</p>' if texts else ""


def _metrics_table(section: Section) -> str:
    rows = []
    for group, key, name, meaning in _METRICS:
        value = _number(section.metrics, group, key)
        shown = _NOT_COMPUTABLE if value is None else f"{value:.1%}" if key in _RATES else f"{value:.3f}"
        extra = _reason(section, group) if value is None else _interval(section.metrics, f"{group}_{key}")
        rows.append(
            f'<tr><th scope="row">{name}<span class="hint">{meaning}</span></th>'
            f'<td>{shown}<span class="hint">{extra}</span></td></tr>'
        )
    return _table("Figures of merit", ("", "value"), rows)


def _interval(metrics: Mapping[str, Any], key: str) -> str:
    interval = (metrics.get("intervals") or {}).get(key)
    return f"95%: {interval[0]:.3f}–{interval[1]:.3f}" if interval else ""


def _reason(section: Section, group: str) -> str:
    """Why nothing could be computed, where that is obvious."""
    for label, name in ((1, "defective"), (0, "good")):
        if not any(known == label for _, known in section.scores):
            return f"no {name} test images"
    return "no masks" if group == "pixel" and not _number(section.metrics, "counts", "with_mask") else ""


def _by_type_table(metrics: Mapping[str, Any]) -> str:
    by_type = metrics.get("by_defect_type") or {}
    rows = [
        f'<tr><th scope="row">{escape(str(name))}</th><td>{_figure(by_type, name, "count", "{:.0f}")}</td>'
        f"<td>{_figure(by_type, name, 'recall', '{:.0%}')}</td>"
        f"{_cells(by_type, [(name, key) for key in _TYPE_KEYS])}</tr>"
        for name in by_type
    ]
    columns = ("", "images", "found", "image AUROC", "pixel AUROC", "AUPRO")
    return _table("By type of defect", columns, rows) if rows else ""


def _table(caption: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' if name else "<td></td>" for name in columns)
    return (
        f'<div class="scroll"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cells(metrics: Mapping[str, Any], keys: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<td>{_figure(metrics, group, key)}</td>" for group, key in keys)


def _figure(metrics: Mapping[str, Any], group: str, key: str, style: str = "{:.3f}") -> str:
    value = _number(metrics, group, key)
    return _NOT_COMPUTABLE if value is None else style.format(value)


def _number(metrics: Mapping[str, Any], group: str, key: str) -> float | None:
    value = (metrics.get(group) or {}).get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _notes(notes: Sequence[str]) -> str:
    items = [f"<li>{escape(note)}</li>" for note in notes]
    shown, rest = "".join(items[:NUM_NOTES]), "".join(items[NUM_NOTES:])
    more = f"<details><summary>{len(items) - NUM_NOTES} more</summary><ul>{rest}</ul></details>" if rest else ""
    return f"<h3>Notes</h3><ul>{shown}</ul>{more}" if items else ""


def _gallery(section: Section) -> str:
    if not section.cases:
        return ""
    return (
        f"<h3>Worst cases first: {len(section.cases)} of {len(section.scores)} images</h3>"
        f"{legend(section.cases[0].pixel_threshold)}"
        f'<div class="gallery">{"".join(_case(case) for case in section.cases)}</div>'
    )


def _case(case: Case) -> str:
    pictures = panels(case.photograph, case.anomaly_map, case.pixel_threshold, case.mask, longer_side=PANEL_SIDE)
    name = escape(case.path)
    has_outline = case.mask is not None and case.mask.any()
    alts = (
        f"Photograph {name}{', its true defect outlined' if has_outline else ''}",
        f"{name} in grey, with what the model marks",
        f"Anomaly map of {name}, at most {case.anomaly_map.max():.3g}",
    )
    images = "".join(
        f'<img src="{data_uri(picture)}" alt="{alt}" width="{picture.shape[1]}" height="{picture.shape[0]}">'
        for picture, alt in zip(pictures, alts, strict=True)
    )
    verdict = VERDICTS[case.label, case.is_anomalous]
    truth = {0: "good", 1: case.defect_type or "defective", None: "no label"}[case.label]
    sign = "≥" if case.is_anomalous else "&lt;"
    return (
        f'<figure class="case"><div class="panels">{images}</div><figcaption>'
        f'<b class="{verdict.split()[0]}">{verdict}</b><span class="name">{name}</span>'
        f'<span class="hint">{escape(truth)} · score {case.score:.4g} {sign} {case.threshold:.4g}</span>'
        "</figcaption></figure>"
    )
