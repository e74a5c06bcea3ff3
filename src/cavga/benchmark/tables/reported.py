"""The figures that the paper reports in Tables 2 to 8 (reported.json), and those that a user gives in a CSV file.

They are from memory, checked against what the text and other papers repeat: no table shows one without saying so.
"""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from cavga.errors import UsageError, unknown_name
from cavga.structured_files import parse_json

CSV_COLUMNS = ("table", "row", "column", "value")
COUNTS = "count"  # the metric of Table 2


@dataclass(frozen=True)
class ReportedFigure:
    """One figure, and how far it can be trusted ("recalled+checked", "recalled, low") or where it is from."""

    value: float
    trust: str
    is_given: bool = False
    """It comes from the user's file."""


@dataclass(frozen=True)
class ReportedGrid:
    """Rows and columns of one metric on one data set."""

    title: str
    metric: str
    """"iou", "pixel_auroc", "image_auroc", "balanced_accuracy" or "count"."""
    set_name: str | None
    """Folder below the data root; None: every data set is a row."""
    parts: dict[str, str]
    """Row -> category, scene or class."""
    means: dict[str, str]
    """Row over all parts -> its metric."""
    extra: tuple[str, ...] = ()
    """Rows of data sets that the paper does not have."""
    columns: tuple[str, ...] = ()
    figures: dict[tuple[str, str], ReportedFigure] = field(default_factory=dict)
    """(row, column) -> figure."""

    @property
    def rows(self) -> tuple[str, ...]:
        return (*self.parts, *self.means, *self.extra)


@dataclass(frozen=True)
class ReportedTable:
    """A table of the paper."""

    name: str
    title: str
    grids: tuple[ReportedGrid, ...]
    counterparts: dict[str, str]
    """Name of one of our experiments -> the column it is to be compared with."""
    notes: tuple[str, ...]
    source: str
    mark: str
    """What every recalled figure is marked with."""
    is_part_hidden: bool
    """Figures that are remembered less surely were left out."""


def load_reported(table: str, *, shaky: bool = False, given: Path | None = None) -> ReportedTable | None:
    """The reported figures of a table, None if the paper has no such table.

    `shaky` adds what is remembered less surely; `given` is a CSV file whose figures replace or join these.
    Raises UsageError for a file that is no such table.
    """
    content = _content()
    lines = [] if given is None else _read_csv(given, content["tables"])
    if table not in content["tables"]:
        return None
    entry = content["tables"][table]
    grids = [_grid(grid, shaky=shaky) for grid in entry["grids"]]
    for line in (line for line in lines if line["table"] == table):
        figure = ReportedFigure(line["value"], f"given in {given.name if given else ''}", is_given=True)
        grids = [_with(grid, line["row"], line["column"], figure) for grid in grids]
    notes = tuple(entry["notes"])
    is_part_hidden = not shaky and any("shaky" in grid or "shaky_columns" in grid for grid in entry["grids"])
    return ReportedTable(table, entry["title"], tuple(grids), entry["counterparts"], notes, content["source"],
                         content["mark"], is_part_hidden)  # fmt: skip


@cache
def _content() -> dict[str, Any]:
    return parse_json((files("cavga.benchmark.tables") / "reported.json").read_bytes(), dict)


def _grid(entry: dict[str, Any], *, shaky: bool) -> ReportedGrid:
    """A grid as the JSON has it; of what is remembered less surely the rows and columns are there, not the figures."""
    prefix, suffix = entry.get("row_prefix", ""), entry.get("row_suffix", "")
    trust_of, is_shaky = entry.get("trust_of", {}), entry.get("shaky", False)
    hidden = set() if shaky else set(entry["columns"] if is_shaky else entry.get("shaky_columns", ()))
    columns = tuple(column for column in entry["columns"] if column not in hidden)
    figures = {
        (row, column): ReportedFigure(float(value), trust_of.get(column, entry["trust"]))
        for row, values in entry["values"].items()
        for column, value in zip(entry["columns"], values, strict=True)
        if value is not None and column not in hidden
    }
    parts = {f"{prefix}{part}{suffix}": part for part in entry["parts"]}
    return ReportedGrid(entry["title"], entry["metric"], entry["set"], parts, entry["means"],
                        tuple(entry.get("extra", ())), columns, figures)  # fmt: skip


def _with(grid: ReportedGrid, row: str, column: str, figure: ReportedFigure) -> ReportedGrid:
    """The grid with one figure more, if the row is one of its rows."""
    if row not in grid.rows:
        return grid
    columns = grid.columns if column in grid.columns else (*grid.columns, column)
    return replace(grid, columns=columns, figures={**grid.figures, (row, column): figure})


def _read_csv(path: Path, tables: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a user's file, each checked."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UsageError(f"--reported {path} cannot be read: {reason}; expected a CSV file") from error
    reader = csv.DictReader(io.StringIO(text))
    found = [name.strip() for name in reader.fieldnames or ()]
    if sorted(found) != sorted(CSV_COLUMNS):
        raise UsageError(f"{path}: expected the columns {','.join(CSV_COLUMNS)}, found {','.join(found) or 'none'}")
    reader.fieldnames = found
    lines = [_line(row, f"{path}, line {reader.line_num}", tables) for row in reader]
    seen: set[tuple[str, ...]] = set()
    for line in lines:
        key = (line["table"], line["row"], line["column"])
        if key in seen:
            raise UsageError(f"{path}: {', '.join(key)} is there twice; remove one")
        seen.add(key)
    return lines


def _line(row: dict[Any, Any], place: str, tables: dict[str, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise UsageError(f"{place}: expected {len(CSV_COLUMNS)} fields ({','.join(CSV_COLUMNS)})")
    table, name, column, text = (row[key].strip() for key in CSV_COLUMNS)
    grids = [_grid(grid, shaky=True) for grid in _known(tables, table, place)["grids"]]
    known = {row: grid for grid in grids for row in grid.rows}
    _known(known, name, f"{place}: row of {table}")
    if not column:
        raise UsageError(f"{place}: column is empty: expected the name of a method")
    limit, expected = (math.inf, "a number of images") if known[name].metric == COUNTS else (1.0, "a share of 0 to 1")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= limit or math.isinf(value):
        raise UsageError(f"{place}: value {text!r}: expected {expected}, such as {'467' if limit > 1 else '0.412'}")
    return {"table": table, "row": name, "column": column, "value": value}


def _known(names: dict[str, Any], name: str, place: str) -> Any:
    if name not in names:
        raise UsageError(f"{place}: {unknown_name('name', name, names)}")
    return names[name]


def trusts(grids: Iterable[ReportedGrid]) -> list[str]:
    """The degrees of trust of the recalled figures, in order of appearance."""
    return list(dict.fromkeys(f.trust for grid in grids for f in grid.figures.values() if not f.is_given))
