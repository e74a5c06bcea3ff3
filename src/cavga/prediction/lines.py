"""predictions.jsonl: what a line says, its only writer and its only reader. No torch, no scikit-learn.

`cavga predict` needs neither, and `cavga evaluate`, compare, drift and the benchmark come here as well.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cavga.errors import DataError
from cavga.images.regions import Region

PREDICTIONS_FILE = "predictions.jsonl"  # of `cavga predict` and of `cavga evaluate`, in their output folder


@dataclass(frozen=True)
class PredictionLine:
    """One image in predictions.jsonl: its score and what was decided, or the error; None is what is not known."""

    path: str
    """As given, or below the given folder; relative to the data of an evaluation. "" where a file does not say."""
    score: float | None = None
    threshold: float | None = None
    is_anomalous: bool | None = None
    label: int | None = None
    error: str | None = None
    milliseconds: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    """What one command alone says: regions and pictures, or sha256."""

    def as_dict(self) -> dict[str, Any]:
        """What stands in the file."""
        values = {name: getattr(self, name) for name in _FIELDS}
        milliseconds = None if self.milliseconds is None else round(self.milliseconds, 3)
        return {**values, "milliseconds": milliseconds, **self.more}


def prediction_line(
    path: str,
    *,
    score: float | None,
    threshold: float | None,
    decided: bool | None = None,
    label: int | None = None,
    error: str | None = None,
    milliseconds: float | None = None,
    **more: Any,
) -> PredictionLine:
    """The line of one image; without a threshold it says what was decided elsewhere."""
    is_judged = score is not None and threshold is not None
    is_anomalous = score >= threshold if is_judged else decided if threshold is None else None  # type: ignore[operator]
    return PredictionLine(path, score, threshold, is_anomalous, label, error, milliseconds, more)


def region_line(region: Region) -> dict[str, Any]:
    """One region in a line of predictions.jsonl."""
    return {
        "box": region.box,
        "polygon": region.polygon,
        "area": round(region.area, 2),
        "score": region.score,
    }


def read_predictions(path: Path, needed: Collection[str] = ("score",)) -> Iterator[PredictionLine]:
    """The lines of a file, one after the other; raises DataError at the first that is none.

    `needed` names the fields that every line has to have. Any field may be null, and others may be missing.
    """
    for number, entry in enumerate(json_lines(path), start=1):
        if entry is None or not all(name in entry for name in needed):
            raise damaged_line(path, number, f"with {' and '.join(needed)}" if needed else "")
        wrong = next((name for name, is_valid in _FIELDS.items() if not is_valid(entry.get(name))), None)
        if wrong is not None or ("path" in needed and not entry["path"]):
            name = wrong or "path"
            raise damaged_line(path, number, f"with {_EXPECTED[name]} as {name}, not {entry[name]!r}")
        known = {name: entry[name] for name in _FIELDS if entry.get(name) is not None}
        known |= {name: float(known[name]) for name in _NUMBERS if name in known}
        more = {name: value for name, value in entry.items() if name not in _FIELDS}
        yield PredictionLine(**{"path": "", **known}, more=more)


def damaged_line(path: Path, number: int, expected: str = "") -> DataError:
    """What is said of every line that cannot be used; `expected` names what it lacks."""
    what = f"expected a line of `cavga evaluate` or `cavga predict` {expected}".rstrip()
    return DataError(f"{path}, line {number}: {what}; evaluate or predict again")


def json_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """What stands in each line of a file; None where it is no JSON object."""
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:  # also of bytes that are no text
                entry = None
            yield entry if isinstance(entry, dict) else None


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line, utf-8."""
    return b"".join(as_json(line) + b"\n" for line in lines)


def as_json(item: Mapping[str, Any]) -> bytes:
    """JSON in utf-8, on one line."""
    # A file name need not be utf-8: Python keeps such bytes as lone surrogates, which JSON can only write as \udcXX.
    return json.dumps(item, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


_FIELDS: dict[str, Callable[[Any], bool]] = {  # what a line always says, in its order
    "path": _is_text,
    "score": _is_number,
    "threshold": _is_number,
    "is_anomalous": lambda value: value is None or isinstance(value, bool),
    "label": lambda value: value is None or value in (0, 1),
    "error": _is_text,
    "milliseconds": _is_number,
}
_NUMBERS = ("score", "threshold", "milliseconds")
_EXPECTED = {
    **dict.fromkeys(("path", "error"), "text"),
    **dict.fromkeys(_NUMBERS, "a finite number"),
    "is_anomalous": "true, false or null",
    "label": "0, 1 or null",
}
