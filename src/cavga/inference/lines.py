"""predictions.jsonl: what a line says, its only writer and its only reader. No torch, no scikit-learn.

`cavga predict` needs neither, and `cavga evaluate`, compare, drift and the benchmark come here as well.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from cavga.errors import DataError
from cavga.images.regions import Region
from cavga.regular_files import open_regular
from cavga.structured_files import MAX_BYTES, Finite, StructureError, as_schema, parse_json

PREDICTIONS_FILE = "predictions.jsonl"  # of `cavga predict` and of `cavga evaluate`, in their output folder


@dataclass(frozen=True)
class PredictionLine:
    """One image in predictions.jsonl: its score and what was decided, or the error; None is what is not known."""

    path: str
    """As given, or below the given folder; relative to the data of an evaluation. "" where a file does not say."""
    score: float | None = None
    threshold: float | None = None
    is_anomalous: bool | None = None
    p_value: float | None = None
    """How rare such a score is among good photographs."""
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
    p_value: float | None = None,
    label: int | None = None,
    error: str | None = None,
    milliseconds: float | None = None,
    **more: Any,
) -> PredictionLine:
    """The line of one image; without a threshold it says what was decided elsewhere."""
    is_judged = score is not None and threshold is not None
    is_anomalous = score >= threshold if is_judged else decided if threshold is None else None  # type: ignore[operator]
    return PredictionLine(path, score, threshold, is_anomalous, p_value, label, error, milliseconds, more)


def region_line(region: Region, *, is_anomalous: bool) -> dict[str, Any]:
    """One region in a line of predictions.jsonl, of a photograph that is anomalous or not."""
    return {
        "box": region.box,
        "polygon": region.polygon,
        "area": round(region.area, 2),
        "score": region.score,
        "below_image_threshold": not is_anomalous,
    }


def read_predictions(path: Path, needed: Collection[str] = ("score",)) -> Iterator[PredictionLine]:
    """The lines of a file, one after the other; raises DataError at the first that is none.

    `needed` names the fields that every line has to have. Any field may be null, and others may be missing.
    """
    for number, entry in enumerate(json_lines(path), start=1):
        if entry is None or not all(name in entry for name in needed):
            raise damaged_line(path, number, f"with {' and '.join(needed)}" if needed else "")
        try:
            found = msgspec.structs.asdict(as_schema(entry, _Entry))
            wrong = "path" if "path" in needed and not found["path"] else None
        except StructureError as error:
            wrong = error.place.removeprefix("$.")
        if wrong is not None:
            raise damaged_line(path, number, f"with {_EXPECTED[wrong]} as {wrong}, not {entry[wrong]!r}")
        known = {name: value for name, value in found.items() if value is not None}
        more = {name: value for name, value in entry.items() if name not in _FIELDS}
        yield PredictionLine(**{"path": "", **known}, more=more)


def damaged_line(path: Path, number: int, expected: str = "") -> DataError:
    """What is said of every line that cannot be used; `expected` names what it lacks."""
    what = f"expected a line of `cavga evaluate` or `cavga predict` {expected}".rstrip()
    return DataError(f"{path}, line {number}: {what}; evaluate or predict again")


def json_lines(path: Path) -> Iterator[dict[str, Any] | None]:
    """What stands in each line of a file; None where it is no JSON object."""
    with open_regular(path) as file:
        while line := file.readline(MAX_BYTES + 1):
            try:
                yield parse_json(line, dict)
            except StructureError:
                yield None


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """One JSON object a line, utf-8."""
    return b"".join(as_json(line) + b"\n" for line in lines)


def as_json(item: Mapping[str, Any]) -> bytes:
    """JSON in utf-8, on one line."""
    # A file name need not be utf-8: Python keeps such bytes as lone surrogates, which JSON can only write as \udcXX.
    return json.dumps(item, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")


class _Entry(msgspec.Struct):
    """What a line always says, in its order."""

    path: str | None = None
    score: Finite | None = None
    threshold: Finite | None = None
    is_anomalous: bool | None = None
    p_value: Finite | None = None
    label: Literal[0, 1] | None = None
    error: str | None = None
    milliseconds: Finite | None = None


_FIELDS = _Entry.__struct_fields__
_EXPECTED = {
    **dict.fromkeys(("path", "error"), "text"),
    **dict.fromkeys(("score", "threshold", "p_value", "milliseconds"), "a finite number"),
    "is_anomalous": "true, false or null",
    "label": "0, 1 or null",
}
