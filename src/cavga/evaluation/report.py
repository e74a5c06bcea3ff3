"""report.html: one self-contained page that says how good a model is and shows where it fails."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from cavga.calibration.thresholds import Calibration
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.evaluation.attention_rows import AttentionCase, attention_figure
from cavga.evaluation.first_screen import alarm_html, alarm_line, first_screen, numbers
from cavga.evaluation.threshold_page import threshold_part
from cavga.evaluation.verdicts import WRONG, num_called
from cavga.metrics.registry import BY_TYPE, RATE, REPORT, Metric, shown_in
from cavga.rendering.html import (
    NOT_COMPUTABLE,
    Case,
    fact_line,
    fact_table,
    gallery,
    note_list,
    pairs,
    table,
    write_page,
)

_PLACES = ((0, 3), (1, -1), (2, -1))  # of the six first cases of a section: what a page of several shows of each
_TYPE_TITLES = {"recall": "called anomalous"}  # of what all images of a type are


@dataclass(frozen=True, eq=False)
class Section:
    """One evaluation: the content of metrics.json, (score, label) of every image, cases in display order.

    `first` are the cases at first sight, `attention` is what the classifier of a w variant attends to. `calibration`
    is that of the model, None where the model is not known.
    """

    title: str
    metrics: Mapping[str, Any]
    scores: Sequence[tuple[float, int | None]]
    cases: Sequence[Case]
    notes: Sequence[str]
    first: Sequence[Case] = ()
    calibration: Calibration | None = None
    attention: Sequence[AttentionCase] = ()
    not_drawn: Sequence[str] = ()
    """Why a case that should be here is not: its photograph was there when it was scored."""


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the page; every text is escaped, what could not be computed says so."""
    body = "".join(_section(section, i) for i, section in enumerate(sections))
    write_page(path, title, _summary(sections) if len(sections) > 1 else "", body)


def _summary(sections: Sequence[Section]) -> str:
    """All sections at first sight: their alarms, both numbers of them together, two pairs of each of three."""
    alarms = [(section.title, alarm_line(section.metrics, section.calibration)) for section in sections]
    together = _together([section.metrics.get("decisions") or {} for section in sections])
    learnt = [(section.metrics.get("counts") or {}).get("train") or 0 for section in sections]
    sentence = f"{len(sections)} models, each learnt from its own good photographs, {sum(learnt)} in all."
    cases = [
        section.first[place]
        for section, places in zip(sections, _PLACES, strict=False)
        for place in dict.fromkeys(place % len(section.first) for place in places if place < len(section.first))
    ]
    figures = [metric for metric in shown_in(BY_TYPE) if metric.style != RATE]
    rows = [
        f'<tr><th scope="row"><a href="#section-{i}">{escape(section.title)}</a></th>'
        f"<td>{_share(section, ANOMALOUS)}</td><td>{_share(section, NORMAL)}</td>"
        f"{_columns(section.metrics, figures)}</tr>"
        for i, section in enumerate(sections)
    ]
    columns = ("", "defective called", "good called", *(metric.title for metric in figures))
    return (
        "".join(alarm_html(f"{title}: {alarm}") for title, alarm in alarms if alarm is not None)
        + f'<p class="verdict">{sentence if all(learnt) else ""}</p>{numbers(together, None)}{pairs(cases)}'
        + table("All sections", columns, rows)
    )


def _together(decisions: Sequence[Mapping[str, int]]) -> dict[str, int] | None:
    """The decisions of all sections; None where one has none."""
    return {key: sum(found[key] for found in decisions) for key in decisions[0]} if all(decisions) else None


def _section(section: Section, index: int) -> str:
    metrics = section.metrics
    threshold = _number(metrics, "image", "threshold")
    wrong = [case for case in section.cases if case.verdict in WRONG]
    right = [case for case in section.cases if case.verdict not in WRONG]
    total = len(section.scores)
    return (
        f'<section id="section-{index}"><h2>{escape(section.title)}</h2>'
        f"{first_screen(metrics, section.calibration, section.first)}"
        f"{gallery(f'Wrong: {len(wrong)} of {total} images', wrong)}"
        f"{threshold_part(section.scores, threshold, metrics.get('decisions'), section.calibration)}"
        f'<h3>All figures</h3><div class="columns"><div>{_metrics_table(section)}</div>'
        f"<div>{_by_type_table(metrics)}{fact_line('Images', metrics.get('counts'))}</div></div>"
        f"{note_list(section.notes)}"
        f"{gallery(f'Right, the closest calls first: {len(right)} of {total} images', right)}"
        f"{attention_figure(section.attention)}"
        f"{fact_table('Provenance', metrics.get('provenance'))}</section>\n"
    )


def _share(section: Section, label: int) -> str:
    called, total = num_called(section.metrics.get("decisions") or {}, label)
    return f"{called} of {total}" if total else NOT_COMPUTABLE


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
    return table("Metrics", ("", "value"), rows)


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
