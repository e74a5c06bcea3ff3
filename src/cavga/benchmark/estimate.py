"""What a table will take: one short cell is timed, everything else is worked out from it and from finished cells."""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cavga.benchmark.experiments.experiment import Cell, merge
from cavga.benchmark.experiments.index import folder_of
from cavga.benchmark.experiments.selection import Choice
from cavga.benchmark.runner import ROW_FILE, find_cells
from cavga.config.presets import make_config
from cavga.config.schema import epochs_of, images_per_epoch
from cavga.data.catalog import load_catalog
from cavga.data.manifest import sha256_of, write_manifest
from cavga.data.records import ANOMALOUS, NORMAL, Catalog
from cavga.demo.textures import TEXTURES, write_demo_data
from cavga.evaluation.evaluate import evaluate
from cavga.training.loop import Progress
from cavga.training.train import train

NUM_TRAIN, NUM_TEST = 48, 4  # images of the timed cell; so many good ones and so many bad ones are tested


@dataclass(frozen=True)
class Timing:
    """What the timed cell took."""

    cell: str
    data: str
    seconds: float
    seconds_per_epoch_and_image: float
    seconds_per_image: float
    """Everything but the epochs: fitting, thresholds, evaluation; by training and test image."""


@dataclass(frozen=True)
class CellEstimate:
    """One cell that is not finished yet."""

    cell: str
    data: str
    part: str | None
    seed: int
    minutes: float
    basis: str
    """"timed" (scaled from the timed cell), or "finished" (a finished cell of the same name)."""


@dataclass(frozen=True)
class Estimate:
    """What a table will take."""

    table: str
    timing: Timing | None
    """None where every cell is finished."""
    cells: list[CellEstimate]
    num_finished: int
    absent: list[dict[str, str]]

    @property
    def minutes(self) -> float:
        return sum(cell.minutes for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "minutes": round(self.minutes, 1)}


def estimate_table(table: str, output: Path, *, data: Path | None, choice: Choice) -> Estimate:
    """Time one cell on a few of its images, for one epoch, and work out the rest; nothing stays on disk.

    The first of the unfinished cells that train longest is timed. Raises as `run_table` does where no data is there.
    """
    cells, absent = find_cells(table, output, data=data, choice=choice)
    finished = {
        cell.folder: _minutes(output / folder_of(table, cell.set_name, choice.epochs) / cell.folder) for cell in cells
    }
    waiting = [cell for cell in cells if finished[cell.folder] is None]
    if not waiting:
        return Estimate(table, None, [], len(cells), absent)
    with tempfile.TemporaryDirectory(prefix="cavga-") as place:
        root = Path(place) / "data" if any(cell.data in TEXTURES for cell in waiting) else data or Path()
        if root != data:
            write_demo_data(root)
        own = [cell for cell in waiting if cell.method == "cavga" and (root / cell.data).is_dir()]
        timed = max(own or waiting, key=lambda cell: epochs_of(cell.config()))  # the first of the longest ones
        catalog = _catalog(timed, root)
        timing = _time(timed, catalog, Path(place))
        sizes = _sizes(waiting, root, {_key(timed): _size(catalog)})
    of_name: dict[str, list[float]] = {}
    for cell in cells:
        minutes = finished[cell.folder]
        if minutes is not None:
            of_name.setdefault(cell.name, []).append(minutes)
    estimates = [_estimate(cell, timing, sizes[_key(cell)], of_name) for cell in waiting]
    return Estimate(table, timing, estimates, len(cells) - len(waiting), absent)


def _minutes(run: Path) -> float | None:
    """How long a cell took that is finished."""
    path = run / ROW_FILE
    return json.loads(path.read_text(encoding="utf-8"))["minutes"] if path.is_file() else None


def _key(cell: Cell) -> tuple[str, str | None]:
    return cell.data, cell.chosen


def _catalog(cell: Cell, root: Path) -> Catalog:
    settings = cell.config().data
    return load_catalog(root / cell.data, category=settings.category, normal_class=settings.normal_class)


def _size(catalog: Catalog) -> tuple[int, int]:
    """How many images train and test."""
    return len(catalog.split("train")), len(catalog.split("test"))


def _sizes(
    cells: Sequence[Cell], root: Path, known: dict[tuple[str, str | None], tuple[int, int]]
) -> dict[tuple[str, str | None], tuple[int, int]]:
    """The sizes of all data. Scenes and classes are taken to be like the timed one: listing them may unpack videos."""
    (first,) = known.values()
    for cell in cells:
        if _key(cell) not in known:
            is_listed = cell.chosen is None and (root / cell.data).is_dir()
            known[_key(cell)] = _size(_catalog(cell, root)) if is_listed else first
    return known


def _time(cell: Cell, catalog: Catalog, place: Path) -> Timing:
    """Train the cell for one epoch on a few of its images and evaluate it on a few."""
    train_records = [record for record in catalog.split("train") if record.label == NORMAL][:NUM_TRAIN]
    test = [
        record
        for label in (NORMAL, ANOMALOUS)
        for record in [record for record in catalog.split("test") if record.label == label][:NUM_TEST]
    ]
    records = [*train_records, *test]
    manifest = place / "manifest.csv"
    write_manifest(manifest, records, place, {record.relative_path: sha256_of(record.path) for record in records})
    overrides = merge(cell.overrides, {"training": {"epochs": 1, "seed": cell.seed}})
    data_settings = {"category": None, "normal_class": None, "layout": None}
    config = make_config(cell.preset, merge(overrides, {"data": data_settings}))
    steps: list[float] = []

    def note(_progress: Progress) -> None:
        steps.append(time.monotonic())

    started = time.monotonic()
    run = train(manifest, place / "run", config, with_export=False, on_step=note)
    evaluate(run, manifest)
    seconds = time.monotonic() - started
    # The first step begins after the features were fitted: the steps between are what an epoch is made of.
    step = (steps[-1] - steps[0]) / (len(steps) - 1) if len(steps) > 1 else 0.0
    num_steps = max(1, len(steps))
    num_seen = images_per_epoch(config.training, len(train_records))
    return Timing(cell.name, cell.data, round(seconds, 1), step * num_steps / num_seen,
                  max(0.0, seconds - step * num_steps) / len(records))  # fmt: skip


def _estimate(cell: Cell, timing: Timing, size: tuple[int, int], of_name: dict[str, list[float]]) -> CellEstimate:
    if cell.name in of_name:
        minutes, basis = sum(of_name[cell.name]) / len(of_name[cell.name]), "finished"
    else:
        epochs = epochs_of(cell.config()) if cell.method == "cavga" else 0
        num_train, num_test = size
        num_train = cell.num_images if isinstance(cell.num_images, int) else num_train
        in_epochs = timing.seconds_per_epoch_and_image * images_per_epoch(cell.config().training, num_train) * epochs
        minutes, basis = (in_epochs + timing.seconds_per_image * (num_train + num_test)) / 60, "timed"
    return CellEstimate(cell.name, cell.data, cell.part, cell.seed, round(minutes, 2), basis)
