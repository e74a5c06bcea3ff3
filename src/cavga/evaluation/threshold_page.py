"""The part of the report about the threshold: what it gives on these images, and what others would give."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cavga.calibration.rules import RULES
from cavga.calibration.thresholds import Calibration
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.evaluation.verdicts import num_called
from cavga.rendering.charts import score_histogram
from cavga.rendering.html import table
from cavga.rendering.rate_curves import Rates, rates_chart, roc_chart

OTHER_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)  # false-alarm rates that people ask for

Scored = Sequence[tuple[float, int | None]]


def threshold_part(
    scores: Scored, threshold: float | None, decisions: Mapping[str, int] | None, calibration: Calibration | None
) -> str:
    """HTML: the histogram of the scores, both rates by threshold, the ROC curve, two tables; "" without a score."""
    histogram = score_histogram(scores, threshold)
    if not histogram:
        return ""
    rates = Rates.of(scores)
    charts = [("Scores of the test images", histogram)]
    if rates is not None:
        charts.append((_KEY, rates_chart(rates, threshold)))
        charts.append(("All thresholds at once (ROC)", roc_chart(rates, threshold)))
    shown = "".join(f'<figure class="plot"><figcaption>{title}</figcaption>{chart}</figure>' for title, chart in charts)
    return (
        f'<h3>The threshold</h3><div class="columns">{shown}'
        f"<div>{confusion_table(decisions)}{_other_thresholds(scores, calibration)}</div></div>"
    )


_KEY = (
    'Share called anomalous, of <span class="key anomalous">defective</span> and of '
    '<span class="key normal">good</span> images'
)


def confusion_table(decisions: Mapping[str, int] | None) -> str:
    """HTML: what images are beside what they were called; "" where nobody decided."""
    if not decisions:
        return ""
    rows = []
    for label, name in ((ANOMALOUS, "defective"), (NORMAL, "good")):
        called, total = num_called(decisions, label)
        if total:
            rows.append(f'<tr><th scope="row">{name}</th><td>{called}</td><td>{total - called}</td></tr>')
    return table("Confusion matrix", ("", "called anomalous", "called normal"), rows) if rows else ""


def _other_thresholds(scores: Scored, calibration: Calibration | None) -> str:
    """What these images would be called at other false-alarm rates.

    Each threshold follows from the good photographs that set the model's own, never from the test images.
    """
    if calibration is None or not calibration.scores or not RULES[calibration.threshold_rule].follows_scores:
        return ""
    kept = np.array(calibration.scores, dtype=np.float32)
    rule, rows, seen = RULES[calibration.threshold_rule], [], set()
    for rate in OTHER_RATES:
        threshold, promised = rule.image_threshold(kept, rate, calibration.image_score, None)
        if threshold in seen:
            continue
        seen.add(threshold)
        cells = (f"{threshold:.4g}", *(_called(scores, label, threshold) for label in (ANOMALOUS, NORMAL)))
        shown = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{promised:.1%}</th>{shown}</tr>')
    columns = ("false alarms", "threshold", "defective called", "good called")
    command = '<p class="hint"><code>cavga calibrate RUN --false-alarm-rate 0.1</code> sets another one.</p>'
    return table("Other thresholds, from the same good photographs", columns, rows) + command


def _called(scores: Scored, label: int, threshold: float) -> str:
    found: list[Any] = [score >= threshold for score, known in scores if known == label and not math.isnan(score)]
    return f"{sum(found)} of {len(found)}" if found else "-"
