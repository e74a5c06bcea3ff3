"""What a reader sees first: what was learnt, how many defects were called, how many good images, and six pictures."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cavga.calibration.thresholds import Calibration
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.evaluation.verdicts import num_called
from cavga.metrics.significance import clopper_pearson
from cavga.rendering.html import Case, pairs


def first_screen(metrics: Mapping[str, Any], calibration: Calibration | None, cases: Sequence[Case]) -> str:
    """HTML: the alarm if there is one, one sentence, two numbers, the pictures."""
    alarm = alarm_line(metrics, calibration)
    return (
        f"{'' if alarm is None else alarm_html(alarm)}"
        f'<p class="verdict">{escape(learnt_sentence(metrics))}</p>'
        f"{numbers(metrics.get('decisions'), calibration)}{pairs(cases)}"
    )


def alarm_html(text: str) -> str:
    """A line that stands before everything else."""
    return f'<p class="alarm">{escape(text)}</p>'


def alarm_line(metrics: Mapping[str, Any], calibration: Calibration | None) -> str | None:
    """That more good images were called anomalous than the threshold is set for; None where that is not so."""
    decisions = metrics.get("decisions")
    expected = None if calibration is None else calibration.guaranteed_false_alarm_rate
    if not decisions or expected is None:
        return None
    called, total = num_called(decisions, NORMAL)
    if not total or called / total <= expected:
        return None
    low, high = clopper_pearson(called, total)
    text = (
        f"More false alarms than the threshold is set for: {called} of {total} good photographs "
        f"({called / total:.1%}), not {expected:.1%}."
    )
    if low <= expected:
        return f"{text} With so few photographs that can be chance: the rate lies between {low:.1%} and {high:.1%}."
    return f"{text} They may not be like those that set the threshold: `cavga calibrate` sets it by others."


def learnt_sentence(metrics: Mapping[str, Any]) -> str:
    """From how many photographs the model was learnt, and on how many it was tried."""
    counts = metrics.get("counts") or {}
    tested = sum(counts.get(key) or 0 for key in ("test_normal", "test_anomalous"))
    tried = f"Tried on {tested} other photograph{'' if tested == 1 else 's'}."
    if not metrics.get("decisions"):
        tried += " Without a threshold none was judged."
    good, bad = counts.get("train"), counts.get("train_anomalous")
    if not good:
        return tried
    beside = f" and {bad} labelled bad" if bad else ""
    return f"Learnt what is normal from {good} good{beside} photographs. {tried}"


def numbers(decisions: Mapping[str, int] | None, calibration: Calibration | None) -> str:
    """HTML: how many defective and how many good images were called anomalous, large; "" where nobody decided."""
    if not decisions:
        return ""
    figures = [_number(decisions, ANOMALOUS, "defective", _places(decisions))]
    expected = None if calibration is None else calibration.guaranteed_false_alarm_rate
    promise = "" if expected is None else f"the threshold is set for {expected:.1%}"
    figures.append(_number(decisions, NORMAL, "good", promise))
    shown = "".join(figures)
    return f'<div class="numbers">{shown}</div>' if shown else ""


def _number(decisions: Mapping[str, int], label: int, name: str, remark: str) -> str:
    called, total = num_called(decisions, label)
    if not total:
        return ""
    low, high = clopper_pearson(called, total)
    meaning = f"{name} photographs called anomalous" + (" (false alarms)" if label == NORMAL else "")
    interval = f"{called / total:.1%} (95 % interval {low:.1%} to {high:.1%})"
    return (
        f"<div><p><b>{called} of {total}</b> {meaning}</p>"
        f'<p class="hint">{"; ".join(text for text in (interval, remark) if text)}</p></div>'
    )


def _places(decisions: Mapping[str, int]) -> str:
    """Whether what the model marks is the defect; "" where no mask is known."""
    found, elsewhere = decisions["found"], decisions["called_elsewhere"]
    unknown = decisions["called_place_unknown"]
    if not found and not elsewhere:
        return ""
    parts = [f"{found} with the mark on the defect", f"{elsewhere} with the mark elsewhere"]
    return ", ".join(parts + ([f"{unknown} without a true mask"] if unknown else []))
