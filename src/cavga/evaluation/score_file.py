"""Image scores that were computed elsewhere: a .csv, or the predictions.jsonl of `cavga predict`."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cavga.errors import DataError, UsageError
from cavga.inference.lines import read_predictions

COLUMNS = ("image", "score", "is_anomalous")  # the last need not be there; others are passed over
_DECISIONS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}


@dataclass(frozen=True)
class ScoreRow:
    """One row: which image, its score (None where `error` says why not), and what was decided, where it says so."""

    place: str
    """File and line, for messages."""
    image: str
    score: float | None
    is_anomalous: bool | None = None
    threshold: float | None = None
    error: str | None = None


def read_scores(path: Path) -> list[ScoreRow]:
    """The rows of a file of scores; raises UsageError for another kind of file, DataError for what is wrong in it."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise UsageError(f"--scores {path}: expected a .csv with the columns image,score or a predictions.jsonl")
    try:
        rows = list(_csv_rows(path.read_text(encoding="utf-8-sig"), path) if suffix == ".csv" else _jsonl_rows(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; save it as 'CSV UTF-8'") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
    if not rows:
        raise DataError(f"{path}: holds no scores; expected a row for each test image")
    num_decided = sum(row.is_anomalous is not None for row in rows if row.error is None)
    if 0 < num_decided < sum(row.error is None for row in rows):
        raise DataError(f"{path}: is_anomalous is given in some rows and missing in others; give it in all or in none")
    return rows


def _csv_rows(text: str, path: Path) -> Iterator[ScoreRow]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        _check_columns(columns, path)
        for cells in reader:
            texts = [cell.strip() for cell in cells]
            if not any(texts):
                continue
            place = f"{path}, line {reader.line_num}"
            if len(texts) != len(columns):
                raise DataError(
                    f"{place}: {len(texts)} cells, but {len(columns)} columns; put a path that has a comma in quotes"
                )
            row = dict(zip(columns, texts, strict=True))
            if not row["image"]:
                raise DataError(f"{place}: no image; give its path below the data folder or remove the line")
            decision = _decision(row.get("is_anomalous", ""), place)
            yield ScoreRow(place, row["image"], _finite(row["score"], place), decision)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}; mend that line") from error


def _check_columns(columns: list[str], path: Path) -> None:
    for name in COLUMNS[:2]:
        if name not in columns:
            found = ",".join(columns) or "an empty line"
            raise DataError(f"{path}, line 1: no column {name!r}; expected image,score or more, found {found}")
    for name in COLUMNS:
        if columns.count(name) > 1:
            raise DataError(f"{path}, line 1: column {name!r} is there twice; remove one")


def _jsonl_rows(path: Path) -> Iterator[ScoreRow]:
    for number, line in enumerate(read_predictions(path, needed=("path", "score")), start=1):
        place = f"{path}, line {number}"
        if line.score is None:
            yield ScoreRow(place, line.path, None, error=line.error or "it has no score")
        else:
            yield ScoreRow(place, line.path, line.score, line.is_anomalous, line.threshold)


def _finite(text: str, place: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: score {text!r}; expected a finite number")
    return number


def _decision(text: str, place: str) -> bool | None:
    if text and text.lower() not in _DECISIONS:
        raise DataError(f"{place}: is_anomalous {text!r}; expected 0, 1, false, true or nothing in all rows")
    return _DECISIONS[text.lower()] if text else None
