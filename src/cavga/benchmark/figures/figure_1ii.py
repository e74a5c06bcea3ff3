"""Figure 1 (ii): in how many categories CAVGA outperforms the baseline with the best mean, and by how much.

Once as the paper reports it, from the recalled tables, and once from the finished rows of the tables in a folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec

from cavga.atomic_files import atomic_write, refuse_file
from cavga.benchmark.experiments.index import IMPROVEMENTS_FIGURE
from cavga.benchmark.figures.files import command_line
from cavga.benchmark.tables.grids import Grid, Row, make_grids
from cavga.benchmark.tables.html import STYLE, html_lines
from cavga.benchmark.tables.reported import ReportedGrid, ReportedTable, load_reported
from cavga.errors import DataError
from cavga.regular_files import NotRegularError, read_regular
from cavga.rendering.html import fault_list, hint, write_page
from cavga.structured_files import StructureError, parse_json

TITLE = "Figure 1 (ii): improvement over the best baseline"
OURS, OURS_PREFIX = "CAVGA-D_u", "CAVGA-"
MEASURED = " (measured)"  # ends the name of a baseline that has a reported column's
TABLES = ("table3", "table6", "table4", "table5", "table7")
# What the figure prints, which its extracted text still has: (table, metric, set) -> text.
PRINTED = {
    ("table3", "iou", "mvtec_ad"): "9/15; 4-85 %",
    ("table6", "balanced_accuracy", "mvtec_ad"): "9/15; 2-30 %",
    ("table4", "iou", "shanghaitech"): "7/12; 2-42 %",
    ("table4", "balanced_accuracy", "shanghaitech"): "8/12; 1-38 %",
    ("table5", "iou", "lag"): "1/1; 16 %",
    ("table5", "balanced_accuracy", "lag"): "1/1; 1.1 %",
    ("table7", "image_auroc", "MNIST"): "8/10; 0.1-2.5 %",
    ("table7", "image_auroc", "cifar10"): "7/10; 3-31 %",
    ("table7", "image_auroc", "FashionMNIST"): "8/10; 2-24 %",
}
TASKS = {"iou": "localization, IoU", "balanced_accuracy": "detection, accuracy", "image_auroc": "detection, AUROC"}
READING = (
    "Each line: in how many categories (scenes, classes) the model is better than the baseline, and by how many "
    "percent of the baseline's value in those. The baseline is the one with the best mean, one for all categories of "
    "a data set, not the best of each category: that reading gives what the paper prints. Reported figures (†) are "
    "recalled: check the PDF. A measured model stands beside that same reported baseline, and beside the measured "
    "baseline with the best mean over the model's categories; those are of one run, or means over seeds. The classes "
    "of Fashion-MNIST are not remembered: its reported line is of the mean alone."
)


@dataclass(frozen=True)
class Improvement:
    """One line of the figure."""

    table: str
    data: str
    task: str
    model: str
    baseline: str
    source: str
    """"reported" or "measured": of the model; a baseline that is reported ends in †."""
    num_better: int
    num_parts: int
    lowest: float | None
    """The smallest improvement where the model is better, in percent of the baseline; None without one."""
    highest: float | None
    printed: str | None

    @property
    def text(self) -> str:
        shares = "" if self.lowest is None or self.highest is None else f"; {_range(self.lowest, self.highest)}"
        return f"{self.num_better}/{self.num_parts}{shares}"


def draw_improvements(output: Path) -> tuple[list[Improvement], list[dict[str, str]], list[Path]]:
    """Write OUTPUT/fig1ii.html and .json; returns the lines, the tables that are absent, and the files."""
    refuse_file(output)
    lines: list[Improvement] = []
    absent: list[dict[str, str]] = []
    for table in TABLES:
        reported, rows = load_reported(table), _rows(output / f"{table}.json")
        if rows is None:
            command = f"cavga benchmark {table} --data ROOT --output DIR"
            absent.append({"data": table, "message": f"{output / table}.json is not there: `{command}` writes it"})
        if reported is not None:
            lines += _of_table(reported, rows or [])
    return lines, absent, _write(output, lines, absent)


def best_baseline(values: Mapping[str, Mapping[str, float]], means: Mapping[str, float]) -> str | None:
    """The baseline with the best mean: the printed one where there is one, else over its values; None of none."""
    known = {name: means.get(name, mean(of_name.values())) for name, of_name in values.items() if of_name}
    return max(known, key=lambda name: known[name]) if known else None


class _Rows(msgspec.Struct):
    rows: list[dict[str, Any]]


def _rows(path: Path) -> list[Row] | None:
    """The finished rows of a table's JSON, None where it is not there."""
    if not path.is_file():
        return None
    try:
        rows = parse_json(read_regular(path), _Rows).rows
    except (StructureError, NotRegularError):
        raise DataError(f"{path} is not what `cavga benchmark` writes: remove it, or write it anew") from None
    return [row for row in rows if not row.get("error")]


def _of_table(reported: ReportedTable, rows: Sequence[Row]) -> Iterator[Improvement]:
    """Reported and measured lines, one group for each metric of each data set."""
    grids = {grid.title: grid for grid in make_grids(rows, reported)}
    baselines = {row["cell"] for row in rows if row["method"] != "cavga"}
    for frame in reported.grids:
        grid = grids[frame.title]
        # Without parts every mean is a metric of its own.
        groups = {frame.metric: list(frame.parts)} if frame.parts else {m: [row] for row, m in frame.means.items()}
        for metric, names in groups.items():
            whole = next((row for row, of in frame.means.items() if of == metric), None)
            yield from _of_group(_Group(reported.name, frame, metric, names, whole, grid), baselines)


@dataclass(frozen=True)
class _Group:
    """The values of one metric on one data set."""

    table: str
    frame: ReportedGrid
    metric: str
    names: list[str]
    """Rows, one a category."""
    whole: str | None
    """The row of their mean."""
    grid: Grid

    def values(self, column: str) -> dict[str, float]:
        """By category; of a column of which only the mean is known that alone."""
        found = {row: self.grid.entries.get((row, column)) for row in self.names}
        known = {row: entry.value for row, entry in found.items() if entry is not None}
        return known or self.mean(column)

    def mean(self, column: str) -> dict[str, float]:
        """The row of the mean, if it is over all categories."""
        entry = self.grid.entries.get((self.whole or "", column))
        return {self.whole or "": entry.value} if entry is not None and entry.num_parts is None else {}

    def line(self, model: str, baseline: str, *, source: str, is_reported: bool) -> Improvement | None:
        ours, theirs = self.values(model), self.values(baseline)
        if not ours.keys() & theirs.keys():
            ours, theirs = self.mean(model), self.mean(baseline)
        shared = [(ours[row], theirs[row]) for row in ours if row in theirs]
        if not shared:
            return None
        better = [(own, other) for own, other in shared if own > other]
        shares = [100 * (own / other - 1) for own, other in better if other > 0]
        name = self.frame.set_name or ""
        printed = PRINTED.get((self.table, self.metric, name)) if source == "reported" else None
        return Improvement(
            *(self.table, name, TASKS[self.metric], model, f"{baseline} †" if is_reported else baseline, source),
            *(len(better), len(shared), min(shares, default=None), max(shares, default=None), printed),
        )


def _of_group(group: _Group, baselines: set[str]) -> Iterator[Improvement]:
    """The reported model beside the best baseline; each measured one beside that, and beside the best baseline."""
    columns = group.grid.columns
    measured = [column.name for column in columns if not column.is_reported]
    own = [name for name in measured if name.removesuffix(MEASURED) not in baselines]
    complete = group.values(OURS).keys()
    reported = {
        column.name: group.values(column.name)
        for column in columns
        if column.is_reported and not column.name.startswith(OURS_PREFIX)
    }
    reported = {name: values for name, values in reported.items() if values.keys() >= complete}
    means = {name: value for name in reported for value in group.mean(name).values()}
    best = best_baseline(reported, means)
    lines = [group.line(OURS, best, source="reported", is_reported=True)] if best else []
    for name in own:
        lines += [group.line(name, best, source="measured", is_reported=True)] if best else []
        wanted = group.values(name).keys()
        beside = {other: group.values(other) for other in measured if other not in own}
        beside = {other: {row: values[row] for row in wanted} for other, values in beside.items()
                  if values.keys() >= wanted}  # fmt: skip
        baseline = best_baseline(beside, {})
        lines += [group.line(name, baseline, source="measured", is_reported=False)] if baseline else []
    yield from (line for line in lines if line is not None)


def _write(output: Path, lines: Sequence[Improvement], absent: Sequence[dict[str, str]]) -> list[Path]:
    paths = [output / f"{IMPROVEMENTS_FIGURE}.{suffix}" for suffix in ("html", "json")]
    command = f"cavga benchmark {IMPROVEMENTS_FIGURE} --output DIR"
    found: dict[str, Any] = {"figure": IMPROVEMENTS_FIGURE, "command": command, "absent": list(absent)}
    found["lines"] = [asdict(line) | {"text": line.text} for line in lines]
    parts = []
    for source, title in (("reported", "As the paper reports it"), ("measured", "As measured here")):
        shown = [_shown(line) for line in lines if line.source == source]
        body = html_lines(shown) if shown else hint("No row of these tables is finished in this folder.")
        parts.append(f"<section><h2>{escape(title)}</h2>{body}</section>")
    missing = fault_list("Tables that are not there", [item["message"] for item in absent])
    write_page(paths[0], TITLE, hint(READING) + command_line(command), "".join(parts) + missing, style=STYLE)
    atomic_write(paths[1], (json.dumps(found, indent=1) + "\n").encode())
    return paths


def _shown(line: Improvement) -> dict[str, str]:
    """A line as it is read."""
    texts = {"part": f"{line.data}, {line.task}", "model": line.model, "baseline": line.baseline, "better": line.text}
    return texts | ({"the figure prints": line.printed or ""} if line.source == "reported" else {"table": line.table})


def _range(lowest: float, highest: float) -> str:
    return f"{lowest:.1f} %" if f"{lowest:.1f}" == f"{highest:.1f}" else f"{lowest:.1f} to {highest:.1f} %"
