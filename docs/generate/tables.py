"""Tables and pages in Markdown, from the rows of experiments."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from textwrap import fill
from typing import Any

from benchmarks.result_files import read_result
from cavga.benchmark.tables.files import markdown_table
from cavga.config.variant import VARIANTS
from cavga.metrics.registry import METRICS, OF_PAPER, RESULTS, shown_in

Row = dict[str, Any]
WIDTH = 120  # of prose
TEXTURES = ("brick", "grass", "gravel")
TILE, SCREW = "magnetic_tile", "mvtec_ad/screw"
FULL, PADIM, PATCHCORE = "r-s, recommended", "PaDiM, same features", "PatchCore, same features"
PADIM_FINEST, WITH_FACTORS = "PaDiM at the finest stage, same features", "PatchCore and factor model, same features"
Metric = tuple[str, str]  # section and key
IMAGE, PIXEL, IOU = ("image", "auroc"), ("pixel", "auroc"), ("pixel", "iou_dataset")
BY_KEY = {(metric.section, metric.key): metric for metric in METRICS}
COLUMNS = tuple((metric.title, (metric.section, metric.key)) for metric in shown_in(RESULTS))
OF_THE_PAPER = tuple((metric.title, (metric.section, metric.key)) for metric in shown_in(OF_PAPER))
# Committed rows keep the words of their day; pages say what is said now.
WORDS = {
    "without made kind": "without anomaly type",
    "made anomalies": "synthetic anomalies",
    "if called anomalous": "if predicted anomalous",
    "deviations of its own cells": "standard deviations of its own patches",
    "all deviations alike": "all standard deviations alike",
    "no cell": "no patch",
    "all cells": "all patches",
    "cells": "patches",
    "largest cell": "largest patch",
    "makers": "synthetic anomalies",
}
BASELINE_NOTES = ("control", "baseline")


@dataclass(frozen=True)
class Page:
    """A page of docs/results: what was asked, what came out, and the tables."""

    title: str
    asked: str
    found: str
    parts: tuple[str, ...]

    def text(self) -> str:
        """The page."""
        parts = [f"# {self.title}", f"{self.asked} {self.found}", *map(str.strip, self.parts)]
        return wrapped("\n\n".join(parts)) + "\n"


def wrapped(text: str) -> str:
    """The text with paragraphs and list items broken into lines; tables and headings stay."""
    lines: list[str] = []
    for line in text.split("\n"):
        continues = line and lines and lines[-1] and not line.startswith(("|", "#", "- ")) and lines[-1][0] not in "|#"
        if continues:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(line if line.startswith(("|", "#")) else _filled(line) for line in lines)


def _filled(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    return fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def rows_of(name: str) -> list[Row]:
    """The rows of a committed table."""
    rows: list[Row] = read_result(name)["rows"]
    return rows


def value(row: Row, metric: Metric) -> float | None:
    """One figure of a finished row."""
    if metric in BY_KEY:
        return BY_KEY[metric].of(row["metrics"])
    section, key = metric
    found: float | None = row["metrics"][section].get(key)
    return found


def by_seed(rows: Iterable[Row], metric: Metric) -> list[float]:
    """One value a seed, the mean over the data sets of the rows."""
    found: dict[int, list[float | None]] = {}
    for row in rows:
        if not row["error"]:
            found.setdefault(row["seed"], []).append(value(row, metric))
    return [mean(values) for _, values in sorted(found.items()) if None not in values]  # type: ignore[type-var]


def of(rows: Sequence[Row], experiment: str, metric: Metric, *data: str) -> float:
    """The mean over seeds and over the data sets (none: all) of an experiment."""
    found = [row for row in rows if row["cell"] == experiment and (not data or row["data"] in data)]
    return mean(by_seed(found, metric))


def show(values: Iterable[float | None]) -> str:
    """Mean and, of several, standard deviation."""
    found = [number for number in values if number is not None]
    if not found:
        return "-"
    text = f"{mean(found):.3f}"
    return f"{text} ± {stdev(found):.3f}" if len(found) > 1 else text


def in_words(text: str) -> str:
    """A name or note of a committed row in the words of now."""
    for old, new in WORDS.items():
        text = text.replace(old, new)
    return text


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, and the end of its last line."""
    return f"{markdown_table(head, lines)}\n"


def section(title: str, text: str, rows: Sequence[Row], columns: Sequence[tuple[str, Metric]] = COLUMNS) -> str:
    """A heading, what it says, a table a data set, the mean of the textures where they are all there, and the notes."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    parts = [f"## {title}", text.strip()]
    for name in names:
        parts.append(table(name, [row for row in rows if row["data"] == name], columns))
    if set(TEXTURES) <= set(names):
        parts.append(table("Mean of the three textures", on_all_textures(rows), columns))
    return "\n\n".join([*parts, notes(rows)]).strip() + "\n"


def on_all_textures(rows: Sequence[Row]) -> list[Row]:
    """The rows of experiments and seeds that were run on every texture: others would be means of unlike things."""
    found = []
    for row in rows:
        alike = [other for other in rows if (other["cell"], other["seed"]) == (row["cell"], row["seed"])]
        if row["data"] in TEXTURES and set(TEXTURES) <= {other["data"] for other in alike}:
            found.append(row)
    return found


def table(title: str, rows: Sequence[Row], columns: Sequence[tuple[str, Metric]] = COLUMNS) -> str:
    """One line an experiment, without the columns that nobody has; below it seeds, epochs and minutes."""
    lines = {
        name: [by_seed([row for row in rows if row["cell"] == name], metric) for _, metric in columns]
        for name in dict.fromkeys(row["cell"] for row in rows)
    }
    kept = [i for i in range(len(columns)) if any(values[i] for values in lines.values())]
    body = [[in_words(name), *(show(values[i]) for i in kept)] for name, values in lines.items()]
    head = ["", *(columns[i][0] for i in kept)]
    return f"### {title}\n\n{markdown(head, body)}\n{facts(rows)}".strip()


def facts(rows: Sequence[Row]) -> str:
    """Seeds, epochs and minutes of the lines of a table, in one sentence each."""
    names = list(dict.fromkeys(row["cell"] for row in rows))
    seeds = {name: ", ".join(map(str, sorted({row["seed"] for row in rows if row["cell"] == name}))) for name in names}
    epochs = {name: text for name in names if (text := _epochs([row for row in rows if row["cell"] == name]))}
    return " ".join([_grouped("Seeds", seeds), *([_grouped("Epochs", epochs)] if epochs else []), _minutes(rows)])


def _epochs(rows: Sequence[Row]) -> str:
    found = [row for row in rows if not row["error"] and "epochs" in row]
    if not found:
        return ""
    states = {_state(row) for row in found}
    said = states.pop() if len(states) == 1 else "converged in some runs"
    return f"{', '.join(sorted({str(row['epochs']) for row in found}))} ({said})"


def _state(row: Row) -> str:
    """What the last epochs' objectives say of a row's training."""
    if row.get("rate_fell", _fell_before(row)):  # then a still objective says nothing
        return "the rate fell"
    return {True: "converged", False: "not converged", None: "too few to tell"}[row["converged"]]


def _fell_before(row: Row) -> bool:
    """Whether the rate fell in a row that does not say: of before decision 0026, when it fell after 30 epochs too."""
    is_synthetic = VARIANTS[row["metrics"]["provenance"]["variant"]].supervision == "s"
    return row["epochs"] > 30 or (row["epochs"] > 1 and is_synthetic)


def _grouped(title: str, by_name: Mapping[str, str]) -> str:
    """`Title: what most have; what others have, with their names`."""
    common = Counter(by_name.values()).most_common(1)[0][0]
    others: dict[str, list[str]] = {}
    for name, text in by_name.items():
        if text != common:
            others.setdefault(text, []).append(f"`{in_words(name)}`")
    return "; ".join([f"{title}: {common}", *(f"{', '.join(of)}: {text}" for text, of in others.items())]) + "."


def _minutes(rows: Sequence[Row]) -> str:
    """The range of the rows of each device."""
    by_device: dict[str, list[float]] = {}
    for row in rows:
        if not row["error"]:
            by_device.setdefault(row["metrics"]["provenance"]["device"], []).append(row["minutes"])
    ranges = []
    for device, found in by_device.items():
        low, high = f"{min(found):.1f}", f"{max(found):.1f}"
        ranges.append(
            f"{low if low == high else f'{low} to {high}'}{' on a GPU' if device == 'cuda' else ' on a core'}"
        )
    return f"Minutes a run: {', '.join(ranges)}."


def notes(rows: Sequence[Row]) -> str:
    """What is to be known of some lines, and why others have no figures."""
    found: dict[str, list[str]] = {}
    for row in rows:
        text = row["note"] if row["note"] not in BASELINE_NOTES else ""
        name = f"`{in_words(row['cell'])}`"
        for note in filter(None, (text, row["error"])):
            if name not in found.setdefault(in_words(note), []):
                found[in_words(note)].append(name)
    num_names = len({row["cell"] for row in rows})
    lines = [(note, "all rows" if len(names) == num_names else ", ".join(names)) for note, names in found.items()]
    return "\n".join(f"- {who}: {note}." for note, who in lines)
