"""Finished experiments and the paper's reported figures -> the grids of a table, each entry with what it stands for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from cavga.benchmark.tables.reported import ReportedGrid, ReportedTable
from cavga.metrics.registry import TABLES, shown_in

Row = dict[str, Any]  # one row.json
_OF_REPORTED = {"iou_dataset": "iou"}  # metric -> its name in reported.json
METRICS = {_OF_REPORTED.get(metric.name, metric.name): metric for metric in shown_in(TABLES)}
REPORTED_GROUP, GIVEN_GROUP, MEASURED_GROUP = "reported", "given", "measured here"
AS_IN_THE_PAPER, OTHERWISE = "measured here, preset paper", "measured here, not the paper's settings"


@dataclass(frozen=True)
class Column:
    """One method: reported, or measured here."""

    name: str
    group: str
    """REPORTED_GROUP, GIVEN_GROUP (a column of the user's file alone), or what kind of measurement it is."""
    counterpart: str | None = None
    """The reported column that a measured one is compared with."""

    @property
    def is_reported(self) -> bool:
        return self.group in (REPORTED_GROUP, GIVEN_GROUP)


@dataclass(frozen=True)
class Entry:
    """One value of a grid."""

    value: float
    deviation: float | None = None
    """Over seeds; None of one seed."""
    trust: str | None = None
    """Of a reported figure."""
    is_given: bool = False
    num_parts: tuple[int, int] | None = None
    """Of a mean that lacks parts: over how many of how many it is."""
    rows: tuple[Row, ...] = ()
    """The finished experiments of a measured value."""


@dataclass(frozen=True)
class Grid:
    """Methods by categories (scenes, classes), one metric a row."""

    title: str
    columns: tuple[Column, ...]
    metrics: dict[str, str]
    """Row -> its metric, in order."""
    means: frozenset[str]
    """Rows that are means over the others."""
    extra: frozenset[str]
    """Rows of data sets that the paper does not have."""
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    """(row, column) -> value; what is not there has none."""

    def label(self, row: str) -> str:
        """What a row is called where people read it."""
        return f"{row} (not in the paper)" if row in self.extra else row

    def ranks(self, row: str) -> dict[str, float]:
        """Column -> 0 (worst) to 1 (best) among the complete values of a row, as they are shown; equal ones alike."""
        of_row = {column.name: self.entries.get((row, column.name)) for column in self.columns}
        shown = {name: round(e.value, 3) for name, e in of_row.items() if e and e.num_parts is None}
        levels = sorted(set(shown.values()))
        return {name: levels.index(value) / max(1, len(levels) - 1) for name, value in shown.items()}

    def best(self, row: str) -> set[str]:
        """The columns that are best in a row of at least two."""
        ranks = self.ranks(row)
        return {name for name, rank in ranks.items() if rank == 1} if len(ranks) > 1 else set()


def make_grids(rows: Sequence[Row], reported: ReportedTable | None) -> list[Grid]:
    """The grids of a table of the paper; of another table one for every metric, without reported figures."""
    done = [row for row in rows if not row["error"]]
    counterparts = {} if reported is None else reported.counterparts
    frames = _general(rows) if reported is None else reported.grids
    grids = [_grid(frame, rows, done, counterparts) for frame in frames]
    return [grid for grid in grids if grid.entries]


def set_and_part(row: Row) -> tuple[str, str | None]:
    """The data set of a row, and its category, scene or class; rows of earlier versions name their folder alone."""
    name, _, rest = row["data"].partition("/")
    return name, row.get("part", row.get("normal_class", rest or None))


def place_of(row: Row) -> str:
    """What a row was measured on: "mvtec_ad/screw", "shanghaitech/01", "magnetic_tile, 5 images"."""
    name, part = set_and_part(row)
    place = name if part is None else f"{name}/{part}"
    return f"{place}, {row['num_images']} images" if "num_images" in row else place


def value_of(row: Row, metric: str) -> float | None:
    """A metric of a finished experiment; None where it cannot be computed."""
    return METRICS[metric].of(row["metrics"])


def _general(rows: Sequence[Row]) -> list[ReportedGrid]:
    places = {place: place for place in dict.fromkeys(map(place_of, rows))}
    return [ReportedGrid(metric.title, name, None, places, {}) for name, metric in METRICS.items()]


def _grid(frame: ReportedGrid, rows: Sequence[Row], done: Sequence[Row], counterparts: dict[str, str]) -> Grid:
    presets = {row["cell"]: row["preset"] for row in rows if _row_names(frame, row)}
    names = sorted(presets, key=lambda name: presets[name] != "paper") if counterparts else list(presets)
    recalled = {column for (_, column), figure in frame.figures.items() if not figure.is_given}
    # A baseline may have the name of a reported column.
    titles = {name: f"{name} (measured)" if name in frame.columns else name for name in names}
    columns = [Column(name, REPORTED_GROUP if name in recalled else GIVEN_GROUP) for name in frame.columns]
    for name in names:
        group = AS_IN_THE_PAPER if presets[name] == "paper" else OTHERWISE
        columns.append(Column(titles[name], group if counterparts else MEASURED_GROUP, counterparts.get(name)))
    entries = {
        key: Entry(figure.value, trust=figure.trust, is_given=figure.is_given) for key, figure in frame.figures.items()
    }
    for name in names:
        of_experiment = [row for row in done if row["cell"] == name]
        for row_name in (*frame.parts, *frame.extra):
            found = _over_seeds([row for row in of_experiment if row_name in _row_names(frame, row)], frame.metric)
            entries |= {(row_name, titles[name]): found} if found else {}
        for row_name, metric in frame.means.items():
            found = _mean(of_experiment, frame, metric)
            entries |= {(row_name, titles[name]): found} if found else {}
    metrics = {**dict.fromkeys(frame.parts, frame.metric), **frame.means, **dict.fromkeys(frame.extra, frame.metric)}
    shown = {row for row, _ in entries}
    metrics = {row: metric for row, metric in metrics.items() if row in shown}
    return Grid(frame.title, tuple(columns), metrics, frozenset(frame.means), frozenset(frame.extra), entries)


def _row_names(frame: ReportedGrid, row: Row) -> list[str]:
    """The rows of a frame, means apart, that a finished experiment belongs to; a mean's where there is no other."""
    name, part = set_and_part(row)
    if frame.set_name is None:
        return [place_of(row)]
    if name in frame.extra:
        return [name]
    if name != frame.set_name:
        return []
    return [row_name for row_name, of in frame.parts.items() if of == part] or ([] if frame.parts else [*frame.means])


def _over_seeds(rows: Sequence[Row], metric: str) -> Entry | None:
    return _entry([(value_of(row, metric), row) for row in rows])


def _entry(found: Iterable[tuple[float | None, Row]]) -> Entry | None:
    known = [(value, row) for value, row in found if value is not None]
    if not known:
        return None
    values = [value for value, _ in known]
    deviation = stdev(values) if len(values) > 1 else None
    return Entry(mean(values), deviation, rows=tuple(row for _, row in known))


def _mean(rows: Sequence[Row], frame: ReportedGrid, metric: str) -> Entry | None:
    """The mean over the parts, by seed, of the seeds with the most parts; it says so where those are not all."""
    wanted: set[str | None] = set(frame.parts.values()) or {None}
    by_seed: dict[int, dict[str | None, tuple[float, Row]]] = {}
    for row in rows:
        name, part = set_and_part(row)
        value = value_of(row, metric)
        if name == frame.set_name and part in wanted and value is not None:
            by_seed.setdefault(row["seed"], {})[part] = (value, row)
    if not by_seed:
        return None
    fullest = max(by_seed.values(), key=len)
    # Seeds that lack other parts would make a mean of unlike things.
    used = [parts for parts in by_seed.values() if parts.keys() == fullest.keys()]
    most = len(fullest)
    means = [mean(value for value, _ in parts.values()) for parts in used]
    return Entry(
        mean(means),
        stdev(means) if len(means) > 1 else None,
        num_parts=None if most == len(wanted) else (most, len(wanted)),
        rows=tuple(row for parts in used for _, row in parts.values()),
    )
