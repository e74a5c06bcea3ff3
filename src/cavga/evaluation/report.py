"""report.html: one self-contained page that says how good a model is and shows where it fails."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from cavga.evaluation.attention_rows import AttentionCase, attention_figure
from cavga.metrics.registry import BY_TYPE, RATE, REPORT, Metric, shown_in
from cavga.rendering.charts import score_histogram
from cavga.rendering.html import NOT_COMPUTABLE, VERDICTS, Case, fact_line, gallery, note_list, table, write_page

MAX_CASES = 24
MIN_CASES = {"found": 4, "correctly passed": 2, "false alarm": 4}  # shown however many are missed

_WORDS = ((1, "defective", "found"), (0, "good", "predicted anomalous"), (None, "unlabelled", "predicted anomalous"))
_TYPE_TITLES = {"recall": "found"}  # of what all images of a type are


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
    not_drawn: Sequence[str] = ()
    """Why a case that should be here is not: its photograph was there when it was scored."""


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
    write_page(path, title, _summary(sections) if len(sections) > 1 else "", body)


def _summary(sections: Sequence[Section]) -> str:
    figures = [metric for metric in shown_in(BY_TYPE) if metric.style != RATE]
    rows = [
        f'<tr><th scope="row"><a href="#section-{i}">{escape(section.title)}</a></th><td>{_share(section, 1)}</td>'
        f"<td>{_share(section, 0)}</td>{_columns(section.metrics, figures)}</tr>"
        for i, section in enumerate(sections)
    ]
    columns = ("", "defects found", "false alarms", *(metric.title for metric in figures))
    return table("All sections", columns, rows)


def _section(section: Section, index: int) -> str:
    metrics = section.metrics
    histogram = score_histogram(section.scores, _number(metrics, "image", "threshold"))
    plot = f'<figure class="plot"><figcaption>Scores of the test images</figcaption>{histogram}</figure>'
    return (
        f'<section id="section-{index}"><h2>{escape(section.title)}</h2>'
        f'<p class="verdict">{_sentence(section)}</p>{fact_line("Images", metrics.get("counts"))}'
        f'<div class="columns"><div>{_metrics_table(section)}</div>'
        f"<div>{plot if histogram else ''}{_by_type_table(metrics)}</div></div>"
        f"{note_list(section.notes)}{attention_figure(section.attention)}{_worst_cases(section)}"
        f"{fact_line('Provenance', metrics.get('provenance'))}</section>\n"
    )


def _num_predicted_anomalous(section: Section, label: int | None) -> tuple[int | None, int]:
    """How many images with this label are predicted anomalous (None if nobody decided), of how many."""
    scores = [score for score, known in section.scores if known == label]
    threshold = _number(section.metrics, "image", "threshold")
    if threshold is not None:
        return sum(score >= threshold for score in scores), len(scores)
    rate = None if label is None else _number(section.metrics, "image", ("false_alarm_rate", "recall")[label])
    return (None if rate is None else round(rate * len(scores))), len(scores)


def _share(section: Section, label: int | None) -> str:
    num_predicted_anomalous, total = _num_predicted_anomalous(section, label)
    return f"{num_predicted_anomalous} of {total}" if total and num_predicted_anomalous is not None else NOT_COMPUTABLE


def _sentence(section: Section) -> str:
    """The result in plain words."""
    parts = []
    for label, name, outcome in _WORDS:
        num_predicted_anomalous, total = _num_predicted_anomalous(section, label)
        if num_predicted_anomalous is None and (total or not section.scores):
            return f"{len(section.scores)} images were scored; without a threshold none was judged."
        if total:
            was = "was" if num_predicted_anomalous == 1 else "were"
            images = "image" if total == 1 else "images"
            parts.append(f"of <b>{total}</b> {name} {images} <b>{num_predicted_anomalous}</b> {was} {outcome}")
    text = "; ".join(parts) or "no image was scored"
    return f"{text[0].upper()}{text[1:]}."


def _metrics_table(section: Section) -> str:
    rows = []
    for metric in shown_in(REPORT):
        value = _finite(metric.of(section.metrics))
        shown = NOT_COMPUTABLE if value is None else f"{value:{metric.style}}"
        extra = _reason(section, metric.section) if value is None else _interval(section.metrics, metric.name)
        rows.append(
            f'<tr><th scope="row">{metric.heading}<span class="hint">{metric.meaning}</span></th>'
            f'<td>{shown}<span class="hint">{extra}</span></td></tr>'
        )
    return table("Figures of merit", ("", "value"), rows)


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
    figures = sorted(shown_in(BY_TYPE), key=lambda metric: metric.style != RATE)  # what was found comes first
    rows = [
        f'<tr><th scope="row">{escape(str(name))}</th><td>{_figure(_number(by_type, name, "count"), ".0f")}</td>'
        + "".join(f"<td>{_figure(_number(by_type, name, metric.name), _whole(metric))}</td>" for metric in figures)
        + "</tr>"
        for name in by_type
    ]
    columns = ("", "images", *(_TYPE_TITLES.get(metric.key, metric.title) for metric in figures))
    return table("By type of defect", columns, rows) if rows else ""


def _columns(metrics: Mapping[str, Any], figures: Sequence[Metric]) -> str:
    return "".join(f"<td>{_figure(_finite(metric.of(metrics)), metric.style)}</td>" for metric in figures)


def _whole(metric: Metric) -> str:
    """Of the few images of one type a rate is shown in whole percent."""
    return ".0%" if metric.style == RATE else metric.style


def _figure(value: float | None, style: str) -> str:
    return NOT_COMPUTABLE if value is None else f"{value:{style}}"


def _number(metrics: Mapping[str, Any], group: str, key: str) -> float | None:
    return _finite((metrics.get(group) or {}).get(key))


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _worst_cases(section: Section) -> str:
    return gallery(f"Worst cases first: {len(section.cases)} of {len(section.scores)} images", section.cases)
