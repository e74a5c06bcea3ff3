"""What stands in a table, as lines: each measured value beside the reported one, with its cost and its origin."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import mean
from typing import Any

from cavga.benchmark.tables.grids import METRICS, Column, Grid, Row, place_of
from cavga.calibration.rules import RULES


@dataclass(frozen=True)
class Record:
    """One value; of a reported one the fields of what was measured are None."""

    table: str
    row: str
    column: str
    metric: str
    source: str
    """"reported", "given" (by the user's file) or "measured"."""
    trust: str | None
    value: float
    deviation: float | None = None
    seeds: str | None = None
    """Which, separated by spaces."""
    reported_column: str | None = None
    reported: float | None = None
    reported_is_given: bool | None = None
    """The figure compared with comes from the user's file."""
    difference: float | None = None
    """Measured less reported; None of a mean that lacks parts."""
    minutes: float | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None
    code: str | None = None
    data_sha256: str | None = None
    split: str | None = None
    thresholds: str | None = None
    note: str | None = None


def records(table: str, grids: Sequence[Grid], *, mark: str) -> list[Record]:
    """Every value of a table, in the order of its grids, rows and columns; `mark` is of recalled figures."""
    return [
        _record(table, grid, row, column, mark)
        for grid in grids
        for row in grid.metrics
        for column in grid.columns
        if (row, column.name) in grid.entries
    ]


def as_csv(lines: Iterable[Record]) -> str:
    """The records as a CSV file with a head."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [item.name for item in fields(Record)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    return text.getvalue()


def _record(table: str, grid: Grid, row: str, column: Column, mark: str) -> Record:
    entry = grid.entries[row, column.name]
    metric = METRICS[grid.metrics[row]].title if grid.metrics[row] in METRICS else grid.metrics[row]
    if column.is_reported:
        source, trust = ("given", entry.trust) if entry.is_given else ("reported", f"{mark} ({entry.trust})")
        return Record(table, row, column.name, metric, source, trust, entry.value)
    reported = grid.entries.get((row, column.counterpart or ""))
    is_complete = entry.num_parts is None
    lacking = [] if entry.num_parts is None else [f"mean of {entry.num_parts[0]} of {entry.num_parts[1]}"]
    return Record(
        *(table, row, column.name, metric, "measured", None, round(entry.value, 6)),
        deviation=None if entry.deviation is None else round(entry.deviation, 6),
        seeds=" ".join(str(seed) for seed in sorted({line["seed"] for line in entry.rows})),
        reported_column=column.counterpart if reported else None,
        reported=reported.value if reported else None,
        reported_is_given=reported.is_given if reported else None,
        difference=round(entry.value - reported.value, 6) if reported and is_complete else None,
        minutes=_mean_of(entry.rows, "minutes"),
        images_per_second=_mean_of(entry.rows, "images_per_second"),
        peak_memory_mb=max((line["peak_memory_mb"] for line in entry.rows if line.get("peak_memory_mb")), default=None),
        code=_all(line.get("code") for line in entry.rows),
        data_sha256=_all(line["metrics"].get("provenance", {}).get("data_sha256") for line in entry.rows),
        split=_all(map(split_of, entry.rows)),
        thresholds=_all(map(thresholds_of, entry.rows)),
        note="; ".join([*lacking, *dict.fromkeys(line["note"] for line in entry.rows if line["note"])]) or None,
    )


def origins(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Of every finished experiment where it comes from."""
    for row in rows:
        if not row["error"]:
            yield {
                "measured on": place_of(row),
                "model": row["cell"],
                "seed": row["seed"],
                "code": row.get("code") or "-",
                "data": (row["metrics"].get("provenance", {}).get("data_sha256") or "-")[:12],
                "images": split_of(row),
                "thresholds": thresholds_of(row),
            }


def split_of(row: Row) -> str:
    """How many images did what, in words."""
    counts = row["metrics"].get("counts", {})
    bad, excluded = counts.get("train_anomalous", 0), counts.get("excluded", 0)
    parts = [f"train {counts.get('train', '?')}" + (f" and {bad} bad" if bad else "")]
    parts.append(f"test {counts.get('test_normal', '?')} good and {counts.get('test_anomalous', '?')} bad")
    return ", ".join([*parts, *([f"{excluded} left out of the test"] if excluded else [])])


def thresholds_of(row: Row) -> str:
    """How the thresholds were set, in a few words."""
    rule = row["metrics"].get("provenance", {}).get("calibration", {})
    if not rule:
        return "-"
    return RULES[rule["threshold_rule"]].summary(rule)


def _mean_of(rows: Sequence[Row], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return round(mean(values), 3) if values else None


def _all(values: Iterable[str | None]) -> str | None:
    """What all have in common, or all that there are."""
    found = list(dict.fromkeys(value for value in values if value))
    return "; ".join(found) if found else None
