"""Cells of a table: a configuration -> a run folder -> one JSON row; no finished cell is run twice.

docs/results.md is written from the rows by benchmarks/render_results.py.
"""

import json
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cavga.baselines.padim import PadimGraph
from cavga.config import RunConfig
from cavga.data.dataset import cache_images
from cavga.data.demo import TEXTURES, write_demo_data
from cavga.data.records import hold_out
from cavga.demo import DEMO_SETTINGS
from cavga.detector import AnomalyDetector
from cavga.errors import CavgaError, UsageError, unknown_name
from cavga.files import atomic_write
from cavga.inference import InferenceGraph
from cavga.pipeline import evaluate, evaluate_detector, train
from cavga.presets import make_config
from cavga.runs import gather
from cavga.thresholds import set_thresholds

Overrides = dict[str, dict[str, Any]]
ROW_FILE = "row.json"
SCREW = "mvtec_ad/screw"


@dataclass(frozen=True)
class Cell:
    """One row of a table."""

    name: str
    data: str
    """Folder below the table's data root."""
    method: str = "cavga"
    """"cavga", or "padim" on the features of the cell that `features_of` names."""
    preset: str = "recommended"
    overrides: Overrides = field(default_factory=dict)
    seed: int = 0
    features_of: str | None = None
    note: str = ""

    @property
    def folder(self) -> str:
        """Where the cell's run lies below the output."""
        return f"{self.name}/{self.data.replace('/', '-')}/seed-{self.seed}"

    def config(self) -> RunConfig:
        return make_config(self.preset, self.overrides, {"training": {"seed": self.seed}})


def demo_cells(seeds: Sequence[int], _weights: str | None) -> list[Cell]:
    """The demo's textures: both presets, what training the encoder and L_ae add, and the control."""
    untrained: Overrides = {"model": {"weights": "none", "train_encoder": False}}
    no_attention: Overrides = {"loss": {"attention_weight": 0.0}}
    paper: Overrides = {"training": {"epochs": 15}}
    cells = []
    for seed in seeds:
        for texture in TEXTURES:
            for name, preset, extra, note in (
                ("recommended", "recommended", {}, ""),
                ("untrained encoder", "recommended", untrained, "encoder random and frozen"),
                ("without L_ae", "recommended", no_attention, "w_ae = 0"),
                ("paper", "paper", paper, "15 epochs of 150; one seed"),
            ):
                if preset == "paper" and seed != seeds[0]:
                    continue  # minutes a cell
                overrides = merge(DEMO_SETTINGS, extra)
                cells.append(Cell(name, texture, preset=preset, overrides=overrides, seed=seed, note=note))
            cells.append(
                Cell("PaDiM, same features", texture, "padim", overrides=DEMO_SETTINGS, seed=seed,
                     features_of="recommended", note="control")
            )  # fmt: skip
    return cells


def screw_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """MVTec's screw with ImageNet's ResNet-18: both presets, what training mu takes, and the control."""
    source = weights or "imagenet"
    base: Overrides = {"model": {"weights": source}}
    frozen_paper: Overrides = {
        "model": {"stages": (3,), "train_encoder": False, "latent_channels": 256},
        "training": {"epochs": 4},
    }
    cells = []
    for seed in seeds:
        for name, preset, extra, note in (
            ("recommended", "recommended", {}, ""),
            ("lower half of the spectrum", "recommended", {"model": {"spectrum": (0.5, 1.0)}}, "spectrum 0.5 to 1"),
            ("standard prior", "recommended", {"model": {"prior": "standard"}}, "N(0, I) at every position"),
            ("lower half, standard prior", "recommended", {"model": {"spectrum": (0.5, 1.0), "prior": "standard"}}, ""),
            ("mu trained on", "recommended", {"model": {"train_latent": True}}, "whitened mu, then trained with Eq. 4"),
            ("paper", "paper", frozen_paper, "R to layer3, frozen: the weights at hand end there; 4 epochs"),
        ):
            cells.append(Cell(name, SCREW, preset=preset, overrides=merge(base, extra), seed=seed, note=note))
        cells.append(Cell("PaDiM, same features", SCREW, "padim", overrides=base, seed=seed,
                          features_of="recommended", note="control"))  # fmt: skip
    return cells


TABLES: dict[str, Callable[[Sequence[int], str | None], list[Cell]]] = {"demo": demo_cells, "screw": screw_cells}


def run_table(
    table: str,
    output: Path,
    *,
    data: Path | None = None,
    seeds: Sequence[int] = (0,),
    weights: str | None = None,
    on_row: Callable[[dict[str, Any]], None] = lambda _row: None,
) -> list[dict[str, Any]]:
    """Run every cell of a table that is not finished; OUTPUT/<table>.json is rewritten after each."""
    if table not in TABLES:
        raise unknown_name("table", table, TABLES)
    if table == "demo":
        data = output / "data"
        write_demo_data(data)
    if data is None:
        raise UsageError(f"table {table} needs --data ROOT, the folder that holds {SCREW}")
    rows = []
    for cell in TABLES[table](seeds, weights):
        row = run_cell(cell, data, output / table)
        rows.append(row)
        content = {"table": table, "machine": platform.machine(), "rows": rows}
        atomic_write(output / f"{table}.json", (json.dumps(content, indent=1) + "\n").encode())
        on_row(row)
    return rows


def run_cell(cell: Cell, root: Path, output: Path) -> dict[str, Any]:
    """One row: from its file if the cell is finished, else computed; a failure is a row that says why."""
    run = output / cell.folder
    if (run / ROW_FILE).is_file():
        return json.loads((run / ROW_FILE).read_text(encoding="utf-8"))
    row: dict[str, Any] = {"cell": cell.name, "data": cell.data, "method": cell.method, "preset": cell.preset,
                           "seed": cell.seed, "note": cell.note}  # fmt: skip
    if run.exists():
        shutil.rmtree(run)  # begun and not finished
    started = time.monotonic()
    try:
        metrics = _cavga(cell, root, run) if cell.method == "cavga" else _padim(cell, root, run, output)
    except CavgaError as error:
        return {**row, "error": str(error)}
    row |= {"error": None, "minutes": round((time.monotonic() - started) / 60, 2), "metrics": metrics}
    atomic_write(run / ROW_FILE, (json.dumps(row, indent=1) + "\n").encode())
    return row


def merge(first: Overrides, second: Overrides) -> Overrides:
    """Two overrides, the second winning."""
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in {**first, **second}}


def _cavga(cell: Cell, root: Path, run: Path) -> dict[str, Any]:
    train(root / cell.data, run, cell.config())
    return evaluate(run, root / cell.data).metrics


def _padim(cell: Cell, root: Path, run: Path, output: Path) -> dict[str, Any]:
    """Fit PaDiM on the features of another cell's run, calibrate and evaluate it in the same way."""
    base = Cell(cell.features_of or "", cell.data, seed=cell.seed)
    detector = AnomalyDetector.load(output / base.folder)
    config = cell.config()
    inputs = gather(root / cell.data, config)
    if not inputs.calibration:  # our folds refit a whitened latent; the control holds images out instead
        fitted, held = hold_out(inputs.train, fraction=config.data.calibration_fraction, seed=cell.seed)
        inputs = replace(inputs, train=fitted, calibration=held)
    assert isinstance(detector.graph, InferenceGraph)
    graph = PadimGraph(detector.graph.model, image_size=config.data.image_size, seed=cell.seed)
    images = cache_images(inputs.train, inputs.hashes_of(inputs.train), size=config.data.image_size, folder=run)
    graph.fit(images, detector.device)
    calibration = set_thresholds(graph, inputs, config, detector.device)
    description = {**detector.description, "preset": "control", "calibration": calibration.as_dict()}
    control = AnomalyDetector(graph, description, device=detector.device)
    metrics = evaluate_detector(control, root / cell.data, run, used=dict.fromkeys(inputs.hashes.values(), "")).metrics
    del images
    for cache in run.glob("images-*"):
        cache.unlink()
    return metrics
