"""What a line of predictions.jsonl says. No torch, no scikit-learn: `cavga predict` needs neither."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cavga.images.regions import Region

PREDICTIONS_FILE = "predictions.jsonl"  # of `cavga predict` and of `cavga evaluate`, in their output folder


def prediction_line(
    path: str,
    *,
    score: float | None,
    threshold: float | None,
    label: int | None,
    error: str | None,
    milliseconds: float | None,
) -> dict[str, Any]:
    """One line of predictions.jsonl; without a threshold nothing is decided."""
    is_anomalous = None if score is None or threshold is None else score >= threshold
    return {
        "path": path,
        "score": score,
        "threshold": threshold,
        "is_anomalous": is_anomalous,
        "label": label,
        "error": error,
        "milliseconds": None if milliseconds is None else round(milliseconds, 3),
    }


def region_line(region: Region) -> dict[str, Any]:
    """One region in a line of predictions.jsonl."""
    return {
        "box": region.box,
        "polygon": region.polygon,
        "area": round(region.area, 2),
        "score": region.score,
    }


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line, utf-8."""
    return b"".join(as_json(line) + b"\n" for line in lines)


def as_json(item: Mapping[str, Any]) -> bytes:
    """JSON in utf-8, on one line."""
    # A file name need not be utf-8: Python keeps such bytes as lone surrogates, which JSON can only write as \udcXX.
    return json.dumps(item, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")
