"""What a table will take: one short experiment is timed, the rest is worked out from it and from finished ones."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cavga.benchmark.experiments.experiment import PUBLISHED, Experiment, merge
from cavga.benchmark.experiments.index import folder_of
from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.runner import ROW_FILE, find_experiments, read_row
from cavga.benchmark.textures import TEXTURES, write_textures
from cavga.benchmark.training_sets import of_paper
from cavga.config.presets import make_config
from cavga.config.schema import epochs_of, images_per_epoch
from cavga.data.catalog import load_catalog
from cavga.data.manifest import sha256_of, write_manifest
from cavga.data.records import ANOMALOUS, NORMAL, Catalog
from cavga.evaluation.evaluate import evaluate
from cavga.progress import Silent
from cavga.training.train import train

NUM_TRAIN, NUM_TEST = 48, 4  # images of the timed experiment; so many good ones and so many bad ones are tested


@dataclass(frozen=True)
class Timing:
    """What the timed experiment took."""

    experiment: str
    data: str
    seconds: float
    seconds_per_epoch_and_image: float
    seconds_per_image: float
    """Everything but the epochs: fitting, thresholds, evaluation; by training and test image."""


@dataclass(frozen=True)
class ExperimentEstimate:
    """One experiment that is not finished yet."""

    experiment: str
    data: str
    part: str | None
    seed: int
    minutes: float
    basis: str
    """"timed" (scaled from the timed experiment), or "finished" (a finished experiment of the same name)."""


@dataclass(frozen=True)
class Estimate:
    """What a table will take."""

    table: str
    timing: Timing | None
    """None where every experiment is finished."""
    experiments: list[ExperimentEstimate]
    num_finished: int
    absent: list[dict[str, str]]

    @property
    def minutes(self) -> float:
        return sum(experiment.minutes for experiment in self.experiments)

    def as_dict(self) -> dict[str, Any]:
        timing = self.timing and _row(self.timing)
        estimates = [_row(estimate) for estimate in self.experiments]
        return {"table": self.table, "timing": timing, "cells": estimates, "num_finished": self.num_finished,
                "absent": self.absent, "minutes": round(self.minutes, 1)}  # fmt: skip


def _row(record: Timing | ExperimentEstimate) -> dict[str, Any]:
    """As JSON names it: "cell" is the experiment, as in the rows of tables."""
    content = asdict(record)
    return {"cell": content.pop("experiment"), **content}


def estimate_table(table: str, output: Path, *, data: Path | None, selection: Selection) -> Estimate:
    """Time one experiment on a few of its images, for one epoch, and work out the rest; nothing stays on disk.

    The first of the unfinished experiments that train longest is timed. Raises as `run_table` does where no data is.
    """
    experiments, absent = find_experiments(table, output, data=data, selection=selection)
    finished = {
        experiment.folder: _minutes(
            output / folder_of(table, experiment.set_name, selection.epochs) / experiment.folder
        )
        for experiment in experiments
    }
    waiting = [experiment for experiment in experiments if finished[experiment.folder] is None]
    if not waiting:
        return Estimate(table, None, [], len(experiments), absent)
    with tempfile.TemporaryDirectory(prefix="cavga-") as place:
        root = Path(place) / "data" if any(experiment.data in TEXTURES for experiment in waiting) else data or Path()
        if root != data:
            write_textures(root)
        own = [
            experiment for experiment in waiting if experiment.method == "cavga" and (root / experiment.data).is_dir()
        ]
        timed = max(
            own or waiting, key=lambda experiment: epochs_of(experiment.config())
        )  # the first of the longest ones
        catalog = _catalog(timed, root)
        timing = _time(timed, catalog, Path(place))
        sizes = _sizes(waiting, root, {_key(timed): _size(catalog)})
    of_name: dict[str, list[float]] = {}
    for experiment in experiments:
        minutes = finished[experiment.folder]
        if minutes is not None:
            of_name.setdefault(experiment.name, []).append(minutes)
    estimates = [_estimate(experiment, timing, sizes[_key(experiment)], of_name) for experiment in waiting]
    return Estimate(table, timing, estimates, len(experiments) - len(waiting), absent)


def _minutes(run: Path) -> float | None:
    """How long an experiment took that is finished."""
    path = run / ROW_FILE
    return read_row(run).get("minutes") if path.is_file() else None


def _key(experiment: Experiment) -> tuple[str, str | None]:
    return experiment.data, experiment.chosen


def _catalog(experiment: Experiment, root: Path) -> Catalog:
    settings = experiment.config().data
    catalog = load_catalog(root / experiment.data, category=settings.category, normal_class=settings.normal_class)
    return (
        catalog if experiment.paper is None else replace(catalog, records=of_paper(catalog.records, experiment.paper))
    )


def _size(catalog: Catalog) -> tuple[int, int]:
    """How many images train and test."""
    return len(catalog.split("train")), len(catalog.split("test"))


def _sizes(
    experiments: Sequence[Experiment], root: Path, known: dict[tuple[str, str | None], tuple[int, int]]
) -> dict[tuple[str, str | None], tuple[int, int]]:
    """The sizes of all data. Scenes and classes are taken to be like the timed one: listing them may unpack videos."""
    (first,) = known.values()
    for experiment in experiments:
        if _key(experiment) not in known:
            is_listed = experiment.chosen is None and (root / experiment.data).is_dir()
            known[_key(experiment)] = _size(_catalog(experiment, root)) if is_listed else first
    return known


class _Steps(Silent):
    """When each step of the loop was over."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self._is_in_loop = False

    def begin(self, phase: str, total: int | None = None, unit: str = "", *, done: int = 0) -> None:
        self._is_in_loop = unit == "epochs"

    def advance(self, amount: float = 1.0) -> None:
        if self._is_in_loop:
            self.ends.append(time.monotonic())


def _time(experiment: Experiment, catalog: Catalog, place: Path) -> Timing:
    """Train the experiment for one epoch on a few of its images and evaluate it on a few."""
    train_records = [record for record in catalog.split("train") if record.label == NORMAL][:NUM_TRAIN]
    test = [
        record
        for label in (NORMAL, ANOMALOUS)
        for record in [record for record in catalog.split("test") if record.label == label][:NUM_TEST]
    ]
    records = [*train_records, *test]
    manifest = place / "manifest.csv"
    write_manifest(manifest, records, place, {record.relative_path: sha256_of(record.path) for record in records})
    overrides = merge(experiment.overrides, {"training": {"epochs": 1, "seed": experiment.seed}})
    data_settings = {"category": None, "normal_class": None, "layout": None}
    config = make_config(experiment.preset, PUBLISHED, merge(overrides, {"data": data_settings}))
    steps = _Steps()
    started = time.monotonic()
    run = train(manifest, place / "run", config, with_export=False, progress=steps)
    evaluate(run, manifest)
    seconds = time.monotonic() - started
    # The first step begins after the features were fitted: the steps between are what an epoch is made of.
    ends = steps.ends
    step = (ends[-1] - ends[0]) / (len(ends) - 1) if len(ends) > 1 else 0.0
    num_steps = max(1, len(ends))
    num_seen = images_per_epoch(config.training, len(train_records))
    return Timing(experiment.name, experiment.data, round(seconds, 1), step * num_steps / num_seen,
                  max(0.0, seconds - step * num_steps) / len(records))  # fmt: skip


def _estimate(
    experiment: Experiment, timing: Timing, size: tuple[int, int], of_name: dict[str, list[float]]
) -> ExperimentEstimate:
    if experiment.name in of_name:
        minutes, basis = sum(of_name[experiment.name]) / len(of_name[experiment.name]), "finished"
    else:
        epochs = epochs_of(experiment.config()) if experiment.method == "cavga" else 0
        num_train, num_test = size
        num_train = experiment.num_images if isinstance(experiment.num_images, int) else num_train
        in_epochs = (
            timing.seconds_per_epoch_and_image * images_per_epoch(experiment.config().training, num_train) * epochs
        )
        minutes, basis = (in_epochs + timing.seconds_per_image * (num_train + num_test)) / 60, "timed"
    return ExperimentEstimate(
        experiment.name, experiment.data, experiment.part, experiment.seed, round(minutes, 2), basis
    )
