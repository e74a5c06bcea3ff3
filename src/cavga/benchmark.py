"""Cells of a table: a configuration -> a run folder -> one JSON row; no finished cell is run twice.

docs/results.md is written from the rows by benchmarks/render_results.py.
"""

import json
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cavga.cells.at_128_px import CONTAMINATION_SHARES
from cavga.cells.cell import Cell
from cavga.cells.tables import TABLES
from cavga.controls import run_control
from cavga.data.contamination import write_contaminated
from cavga.data.demo import TEXTURES, write_demo_data
from cavga.data.one_class import letters_of
from cavga.errors import CavgaError, DataError, ModelFileError, UsageError, unknown_name
from cavga.evaluating import evaluate
from cavga.files import atomic_write
from cavga.model_file import MANIFEST_FILE
from cavga.pipeline import train

ROW_FILE = "row.json"
CONVERGED = 0.01  # relative change of the objective from one epoch to the next


def run_table(
    table: str,
    output: Path,
    *,
    data: Path | None = None,
    seeds: Sequence[int] = (0,),
    weights: str | None = None,
    datasets: Sequence[str] = (),
    on_row: Callable[[dict[str, Any]], None] = lambda _row: None,
) -> list[dict[str, Any]]:
    """Run every cell of a table that is not finished; OUTPUT/<table>.json is rewritten after each.

    `datasets` restricts the table to some of its data sets.
    """
    cells = _cells(table, seeds, weights, datasets)
    needed = sorted({cell.data for cell in cells} - set(TEXTURES))
    _check(table, output, data=data, weights=weights, needed=needed)
    if len(needed) < len({cell.data for cell in cells}):
        write_demo_data(output / "data")
    rows = []
    for cell in cells:
        root = output / "data" if cell.data in TEXTURES else data
        row = run_cell(cell, root or output, output / table)
        rows.append(row)
        content = {"table": table, "machine": platform.machine(), "rows": rows}
        atomic_write(output / f"{table}.json", (json.dumps(content, indent=1) + "\n").encode())
        on_row(row)
    return rows


def _cells(table: str, seeds: Sequence[int], weights: str | None, datasets: Sequence[str]) -> list[Cell]:
    """The cells of a table on some of its data sets, or on all."""
    if table not in TABLES:
        raise unknown_name("table", table, TABLES)
    cells = TABLES[table](seeds, weights)
    known = {letters_of(cell.data): cell.data for cell in cells}
    for name in datasets:
        if letters_of(name) not in known:
            raise unknown_name("data set", name, known.values())
    wanted = {known[letters_of(name)] for name in datasets}
    return [cell for cell in cells if not wanted or cell.data in wanted]


def _check(table: str, output: Path, *, data: Path | None, weights: str | None, needed: Sequence[str]) -> None:
    """Refuse what no cell could be run with, before an earlier table is touched."""
    if needed and data is None:
        raise UsageError(f"table {table} needs --data ROOT, the folder that holds {', '.join(needed)}")
    if output.is_file():
        raise UsageError(f"--output {output} is a file: expected a folder")
    if data is not None and needed and not any((data / name).is_dir() for name in needed):
        raise DataError(f"{data} holds none of {', '.join(needed)}: expected --data ROOT with these folders in it")
    if weights not in (None, "imagenet", "none") and not Path(str(weights)).is_file():
        raise ModelFileError(f"no such weights file: {weights}")


def run_cell(cell: Cell, root: Path, output: Path) -> dict[str, Any]:
    """One row: from its file if the cell is finished, else computed; a failure is a row that says why."""
    run = output / cell.folder
    if (run / ROW_FILE).is_file():
        return json.loads((run / ROW_FILE).read_text(encoding="utf-8"))
    row: dict[str, Any] = {"cell": cell.name, "data": cell.data, "method": cell.method, "preset": cell.preset,
                           "seed": cell.seed, "note": cell.note}  # fmt: skip
    if cell.normal_class is not None:
        row["normal_class"] = cell.normal_class
    if cell.contamination is not None:
        row["contamination"] = cell.contamination
    if run.exists():
        shutil.rmtree(run)  # begun and not finished
    started = time.monotonic()
    try:
        data = _data_of(cell, root, output)
        results = (_cavga if cell.method == "cavga" else run_control)(cell, data, run, output)
    except CavgaError as error:
        return {**row, "error": str(error)}
    row |= {"error": None, "minutes": round((time.monotonic() - started) / 60, 2), **results}
    atomic_write(run / ROW_FILE, (json.dumps(row, indent=1) + "\n").encode())
    return row


def _data_of(cell: Cell, root: Path, output: Path) -> Path:
    """The cell's folder below the data root; a manifest below OUTPUT where its training images are contaminated."""
    data, share = root / cell.data, cell.contamination
    if share is None:
        return data
    folder = output / "manifests" / cell.data.replace("/", "-") / f"seed-{cell.seed}" / f"{100 * share:g} % bad"
    write_contaminated(
        data, folder / MANIFEST_FILE, share=share, reserved_share=max(CONTAMINATION_SHARES), seed=cell.seed
    )
    return folder / MANIFEST_FILE


def _cavga(cell: Cell, data: Path, run: Path, output: Path) -> dict[str, Any]:
    train(data, run, cell.config(), with_export=False)
    without = [output / replace(cell, name=cell.without).folder] if cell.without else []
    metrics = evaluate(run, data, without=without).metrics
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = {key: value for key, value in log[-1].items() if isinstance(value, float)}
    converged = has_converged([line["total"] for line in log])
    return {"metrics": metrics, "epochs": len(log), "converged": converged, "losses": losses}


def has_converged(totals: Sequence[float]) -> bool | None:
    """Whether the objective moved by less than 1 % in each of the last two epochs; None below three epochs."""
    if len(totals) < 3:
        return None
    steps = zip(totals[-3:-1], totals[-2:], strict=True)
    return all(abs(after - before) < CONVERGED * abs(before) for before, after in steps)
