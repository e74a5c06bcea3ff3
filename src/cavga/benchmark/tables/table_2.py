"""Table 2: how many images a data root holds, beside what is published and reported. Nothing is trained."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file
from cavga.benchmark.experiments.index import COUNTS_TABLE
from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.tables.content import GIVEN, REPORTED
from cavga.benchmark.tables.files import bullets, markdown_table
from cavga.benchmark.tables.html import STYLE, html_lines
from cavga.benchmark.tables.reported import ReportedTable
from cavga.data.catalog import load_catalog
from cavga.data.readers.layouts import normalised_name, where_to_get
from cavga.data.readers.published import found_counts, parts_of, published_counts
from cavga.data.readers.shanghaitech import count_scene, find_shanghaitech
from cavga.errors import CavgaError, UsageError, unknown_name
from cavga.rendering.html import fault_list, hint, write_page

SETS = {  # folder below the data root -> the row of its reported figures
    "mvtec_ad": "MVTec AD",
    "shanghaitech": "mSTC",
    "lag": "LAG",
    "MNIST": "MNIST",
    "FashionMNIST": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
}
NAMES = ("training clips", "test clips", "train_normal", "test_normal", "test_anomalous")
TEXT = (
    "Numbers are: here / published. Published numbers are those of the sets' owners; of LAG, of part 1 in the split of "
    "MedIAnomaly; of mSTC, of every 5th frame, and of its training the clips: extracting their frames takes hours."
)


@dataclass(frozen=True)
class CountsRun:
    """What `count_table` did."""

    rows: list[dict[str, Any]]
    """set, part, here (None: not there), published, error."""
    absent: list[dict[str, str]]
    files: list[Path]


def count_table(output: Path, *, data: Path | None, selection: Selection, reported: ReportedTable | None) -> CountsRun:
    """Count every part of every data set and write OUTPUT/table2.json, .md, .csv and .html.

    What is not there is a row without counts, and named in `absent`.
    """
    if data is None:
        raise UsageError(f"table {COUNTS_TABLE} needs --data ROOT, the folder that holds {', '.join(SETS)}")
    refuse_file(output)
    known = {normalised_name(name): name for name in SETS}
    for name in selection.datasets:
        if normalised_name(name) not in known:
            raise unknown_name("data set", name, SETS)
    rows, absent = [], []
    for name in [known[normalised_name(name)] for name in selection.datasets] or SETS:
        of_set = [_count(data, name, part) for part in parts_of(name)]
        lacking = [str(row["part"] or name) for row in of_set if row["here"] is None and row["error"] is None]
        rows += of_set
        if lacking:
            what = data / name if len(lacking) == len(of_set) else f"{data / name}: {', '.join(lacking)}"
            absent.append({"data": name, "message": f"{what} is not there: {where_to_get(name)}"})
    return CountsRun(rows, absent, _write(output, rows, absent, reported))


def _count(data: Path, name: str, part: str | None) -> dict[str, Any]:
    """One part's counts; None where it is not there, an error where it cannot be read."""
    row: dict[str, Any] = {"set": name, "part": part, "here": None, "published": published_counts(name, part)}
    folder = data / name / part if name == "mvtec_ad" and part else data / name
    try:
        here = _counts_of(folder, name, part) if folder.is_dir() else None
    except CavgaError as error:
        return {**row, "error": str(error)}
    return {**row, "here": here, "error": None}


def _counts_of(folder: Path, name: str, part: str | None) -> dict[str, int]:
    if name == "shanghaitech":
        return count_scene(find_shanghaitech(folder) or folder, part or "")
    is_class = name not in ("mvtec_ad", "lag")
    catalog = load_catalog(folder, normal_class=part if is_class else None)
    counts = found_counts(catalog)
    return {key: counts[key] for key in ("train_normal", "test_normal", "test_anomalous")}


def _write(
    output: Path, rows: Sequence[dict[str, Any]], absent: Sequence[dict[str, str]], reported: ReportedTable | None
) -> list[Path]:
    lines = [_line(row) for row in rows] + [
        line for name in dict.fromkeys(row["set"] for row in rows) for line in _totals(name, rows, reported)
    ]
    title = reported.title if reported else COUNTS_TABLE
    said = [*_marks(reported), TEXT, *(reported.notes if reported else ())]
    missing = [item["message"] for item in absent] + [f"{r['set']}: {r['error']}" for r in rows if r["error"]]
    shown = list(map(_shown, lines))
    markdown = [f"# {title}", markdown_table(list(shown[0]), [line.values() for line in shown]), bullets(said)]
    markdown += [f"## What is not there\n\n{bullets(missing)}"] if missing else []
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    body = html_lines(shown) + "".join(map(hint, said)) + fault_list("What is not there", missing)
    content = json.dumps({"table": COUNTS_TABLE, "absent": list(absent), "rows": list(rows)}, indent=1) + "\n"
    paths = [output / f"{COUNTS_TABLE}.{suffix}" for suffix in ("json", "md", "csv", "html")]
    for path, part in zip(paths, (content, "\n\n".join(markdown) + "\n", text.getvalue()), strict=False):
        atomic_write(path, part.encode())
    write_page(paths[-1], title, "<p>Numbers of images: here / published.</p>", body, style=STYLE)
    return paths


def _line(row: dict[str, Any]) -> dict[str, str]:
    """One part, as the CSV file has it."""
    here, published = row["here"] or {}, row["published"]
    line = {"data set": SETS[row["set"]], "part": row["part"] or "all"}
    for name in NAMES:
        line[name.replace("_", " ")] = str(here.get(name, ""))
        line[f"{name.replace('_', ' ')}, published"] = str(published.get(name, ""))
    is_same = all(here.get(name) == count for name, count in published.items())
    line["note"] = row["error"] or ("not there" if row["here"] is None else "" if is_same else "not as published")
    return line


def _shown(line: dict[str, str]) -> dict[str, str]:
    """One part as it is read: "280 / 280" is what is here and what is published."""
    shown = {name: line[name] for name in ("data set", "part")}
    for name in (name.replace("_", " ") for name in NAMES):
        here, published = line[name], line[f"{name}, published"]
        shown[name] = f"{here or '-'} / {published}" if published else ""
    return {**shown, "note": line["note"]}


def _totals(name: str, rows: Sequence[dict[str, Any]], reported: ReportedTable | None) -> list[dict[str, str]]:
    """The sums over a set's parts where that means something, with the paper's figures beside them."""
    of_set = [row for row in rows if row["set"] == name]
    figures = _reported_of(SETS[name], reported)
    if len(of_set) > 1 and name not in ("mvtec_ad", "shanghaitech"):
        return []  # a class's test images are those of every other class too
    total: dict[str, Any] = {"set": name, "part": "total", "here": {}, "published": {}, "error": None}
    for kind in ("here", "published"):
        for row in of_set:
            for key, count in (row[kind] or {}).items():
                total[kind][key] = total[kind].get(key, 0) + count
    line = {**_line(total), "note": "of what is there" if any(row["here"] is None for row in of_set) else ""}
    if figures:
        line["note"] = "; ".join(part for part in (line["note"], f"the paper: {figures}") if part)
    return [line]


def _reported_of(row: str, reported: ReportedTable | None) -> str:
    """What is reported of a data set, on one line."""
    found = [(column, figure) for grid in (reported.grids if reported else ()) for (name, column), figure in
             grid.figures.items() if name == row]  # fmt: skip
    return ", ".join(
        f"{column} {figure.value:.0f} {GIVEN if figure.is_given else REPORTED}" for column, figure in found
    )


def _marks(reported: ReportedTable | None) -> Iterable[str]:
    if reported and reported.is_part_hidden:
        yield "Figures of the paper that are remembered less surely are not shown; --shaky shows them."
    if reported:
        yield f"{REPORTED} {reported.mark} ({reported.source}). {GIVEN} from the file given with --reported."
