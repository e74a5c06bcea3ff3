"""Cells of a table: a configuration -> a run folder -> one JSON row; no finished cell is run twice.

The table's files are written after every cell by cavga.benchmark.tables.files.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file
from cavga.benchmark.baselines.run_baseline import run_control
from cavga.benchmark.experiments.experiment import Cell
from cavga.benchmark.experiments.index import folder_of
from cavga.benchmark.experiments.selection import Choice, choose_cells
from cavga.benchmark.resources import code_version, images_per_second, peak_memory_mb, reset_peak_memory
from cavga.benchmark.tables.content import TableContent
from cavga.benchmark.tables.files import write_table
from cavga.benchmark.tables.grids import Row
from cavga.benchmark.tables.reported import ReportedTable
from cavga.benchmark.training_sets import data_of
from cavga.config.schema import as_dict
from cavga.data.manifest import sha256_of
from cavga.data.readers.published import where_to_get
from cavga.demo.textures import TEXTURES, write_demo_data
from cavga.errors import CavgaError, DataError, ModelFileError, UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.prediction.lines import PREDICTIONS_FILE
from cavga.runs.model_json import LOG_FILE
from cavga.training.gan_weights import read_gan_weights
from cavga.training.train import train

ROW_FILE = "row.json"
CONVERGED = 0.01  # relative change of the objective from one epoch to the next


@dataclass(frozen=True)
class TableRun:
    """What `run_table` did."""

    cells: list[Cell]
    num_cells: int
    """How many the table has, those among them that were not to be run."""
    rows: list[Row]
    """One a cell, in the same order."""
    absent: list[dict[str, str]]
    """Data sets that are not there: `data` and `message`."""
    files: list[Path]


def run_table(
    table: str,
    output: Path,
    *,
    data: Path | None = None,
    choice: Choice | None = None,
    reported: ReportedTable | None = None,
    on_row: Callable[[Row], None] = lambda _row: None,
    write: Callable[[Path, TableContent], list[Path]] = write_table,
    only_finished: bool = False,
) -> TableRun:
    """Run every cell of a table, or of a figure, that is not finished; with `only_finished` none.

    `write` makes files of what is there after each cell: OUTPUT/<table>.json, .md, .csv and .html. Cells of data sets
    that are not there are left out and named in `absent`; raises DataError if none is there.
    """
    choice = choice or Choice()
    cells, absent = find_cells(table, output, data=data, choice=choice)
    planned = [(cell, output / folder_of(table, cell.set_name, choice.epochs)) for cell in cells]
    if only_finished:
        planned = [(cell, place) for cell, place in planned if (place / cell.folder / ROW_FILE).is_file()]
        if not planned:
            places = ", ".join(sorted({str(output / folder_of(table, cell.set_name, choice.epochs)) for cell in cells}))
            advice = "runs cut by --epochs lie in folders of their own, and without --finished cells are run"
            raise UsageError(f"{places}: no finished cell of {table}; {advice}")
    if any(cell.data in TEXTURES for cell, _ in planned):
        write_demo_data(output / "data")
    rows: list[Row] = []
    files: list[Path] = []
    for cell, place in planned:
        root = output / "data" if cell.data in TEXTURES else data
        row = run_cell(cell, root or output, place)
        rows.append(row)
        if not only_finished or len(rows) == len(planned):  # after every cell that takes time
            files = write(output, TableContent(table, rows, len(cells), absent, reported))
        on_row(row)
    return TableRun([cell for cell, _ in planned], len(cells), rows, absent, files)


def find_cells(
    table: str, output: Path, *, data: Path | None, choice: Choice
) -> tuple[list[Cell], list[dict[str, str]]]:
    """The cells whose data is there, and the data sets that are not; raises what no cell could be run with.

    Nothing is written, so that an earlier table stays.
    """
    cells = choose_cells(table, choice)
    needed = sorted({cell.data for cell in cells} - set(TEXTURES))
    if needed and data is None:
        raise UsageError(f"{table} needs --data ROOT, the folder that holds {', '.join(needed)}")
    refuse_file(output)
    there = [cell for cell in cells if cell.data in TEXTURES or (data is not None and (data / cell.data).is_dir())]
    if data is not None and not there:
        wanted = [cell for cell in cells if not cell.is_extra] or cells
        raise DataError(f"{data} holds none of {', '.join(needed)}: {_where({cell.set_name for cell in wanted})}")
    weights = choice.weights
    if weights not in (None, "imagenet", "none") and not Path(str(weights)).is_file():
        raise ModelFileError(f"no such weights file: {weights}")
    if choice.gan_weights is not None:
        read_gan_weights(choice.gan_weights)
    lacking = [cell for cell in cells if cell not in there and not cell.is_extra]
    return there, _absent(data or Path(), cells, lacking)


def _absent(root: Path, cells: Sequence[Cell], lacking: Sequence[Cell]) -> list[dict[str, str]]:
    """One line for each data set of which something is not there."""
    absent = []
    for name in dict.fromkeys(cell.set_name for cell in lacking):
        folders = dict.fromkeys(cell.data for cell in lacking if cell.set_name == name)
        wanted = {cell.data for cell in cells if cell.set_name == name}
        what = f"{root / name} is not there"
        if len(folders) < len(wanted):
            what = f"{root}: {len(folders)} of {len(wanted)} folders are not there ({', '.join(folders)})"
        absent.append({"data": name, "message": f"{what}: {_where([name])}"})
    return absent


def _where(names: Iterable[str]) -> str:
    return "; ".join(where_to_get(name, otherwise=f"put it into {name}/ there") for name in sorted(names))


def run_cell(cell: Cell, root: Path, output: Path) -> Row:
    """One row: from its file if the cell is finished, else computed; a failure is a row that says why."""
    run = output / cell.folder
    row: Row = {"cell": cell.name, "data": cell.data, "part": cell.part, "method": cell.method,
                "preset": cell.preset, "seed": cell.seed, "note": cell.note}  # fmt: skip
    if cell.normal_class is not None:
        row["normal_class"] = cell.normal_class
    if cell.contamination is not None:
        row["contamination"] = cell.contamination
    if cell.num_images is not None:
        row["num_images"] = cell.num_images
    settings = _settings_of(cell)
    if (run / ROW_FILE).is_file():
        return _finished(run, row, settings)
    if run.exists():
        shutil.rmtree(run)  # begun and not finished
    started, is_measured, code = time.monotonic(), reset_peak_memory(), code_version()
    try:
        data = data_of(cell, root, output)
        results = (_cavga if cell.method == "cavga" else run_control)(cell, data, run, output)
    except CavgaError as error:
        return {**row, "error": str(error)}
    except (RuntimeError, MemoryError) as error:  # torch, out of memory: the other cells are still worth running
        return {**row, "error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
    row |= {
        "error": None,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "images_per_second": images_per_second(run / PREDICTIONS_FILE),
        "peak_memory_mb": peak_memory_mb() if is_measured else None,
        "code": code,
        "settings": settings,
        **results,
    }
    atomic_write(run / ROW_FILE, (json.dumps(row, indent=1) + "\n").encode())
    return row


def _settings_of(cell: Cell) -> str:
    """One sha256 for all that a cell's figures depend on besides data and code."""
    config = as_dict(cell.config())
    config["training"].pop("device")
    config["model"]["weights"] = Path(config["model"]["weights"]).name
    gan_weights = config["model"].pop("gan_weights")
    if gan_weights is not None:
        config["model"]["gan_weights"] = sha256_of(Path(gan_weights))  # by content: files of that name are made anew
    parts = [config, cell.method, cell.features_of, cell.without, cell.contamination]
    parts += [] if cell.num_images is None else [cell.num_images]  # nothing, as in rows of earlier versions
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _finished(run: Path, row: Row, settings: str) -> Row:
    """The row of a finished cell; a failure if it was run with other settings than are asked for now."""
    found: Row = json.loads((run / ROW_FILE).read_text(encoding="utf-8"))
    if found.get("settings", settings) == settings:  # rows of earlier versions do not say
        return {**found, "note": row["note"]}  # of the same settings, in the words of now
    problem = "holds this cell with other settings; choose another --output, or remove that folder to run it anew"
    return {**row, "error": f"{run} {problem}"}


def _cavga(cell: Cell, data: Path, run: Path, output: Path) -> dict[str, Any]:
    train(data, run, cell.config(), with_export=False)
    without = [replace(cell, name=cell.without).folder] if cell.without else []
    category = cell.config().data.category  # a normal class is taken from the run itself
    metrics = evaluate(run, data, category=category, without=[output / name for name in without]).metrics
    metrics["provenance"]["without"] = without  # below OUTPUT: the row is read elsewhere
    log = [json.loads(line) for line in (run / LOG_FILE).read_text(encoding="utf-8").splitlines()]
    losses = {key: value for key, value in log[-1].items() if isinstance(value, float)}
    converged = has_converged([line["total"] for line in log])
    return {"metrics": metrics, "epochs": len(log), "converged": converged, "losses": losses}


def has_converged(totals: Sequence[float]) -> bool | None:
    """Whether the objective moved by less than 1 % in each of the last two epochs; None below three epochs."""
    if len(totals) < 3:
        return None
    steps = zip(totals[-3:-1], totals[-2:], strict=True)
    return all(abs(after - before) < CONVERGED * abs(before) for before, after in steps)
