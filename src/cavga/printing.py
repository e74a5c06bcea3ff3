"""The summary table that verbs print."""

from collections.abc import Callable
from typing import Any

_COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], float | None]], ...] = (
    ("image AUROC", lambda metrics: metrics["image"]["auroc"]),
    ("recall", lambda metrics: metrics["image"]["recall"]),
    ("false alarms", lambda metrics: metrics["image"]["false_alarm_rate"]),
    ("pixel AUROC", lambda metrics: metrics["pixel"]["auroc"]),
    ("AUPRO", lambda metrics: metrics["pixel"]["aupro"]),
    ("IoU", lambda metrics: metrics["pixel"]["iou_dataset"]),
)


def table_line(name: str, metrics: dict[str, Any] | None) -> str:
    """One line of the summary table, or its head if `metrics` is None."""
    cells = [f"{name:<12}"]
    for title, get in _COLUMNS:
        value = title if metrics is None else get(metrics)
        text = value if isinstance(value, str) else "-" if value is None else f"{value:.3f}"
        cells.append(f"{text:>12}")
    return " ".join(cells)
