"""Readings of the paper's text, one change at a time: what trains, and whether its attention finds anything.

python -m studies.readings.study ROOT RESNET18 [--seeds 0,1,2]

First every reading small (64 px, one seed), then the best allowed one at 128 px with several seeds. What is chosen is
chosen by `studies.readings.choice`. Writes benchmarks/results/readings.jsonl after every row; a row that is there is
not run again.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.result_files import FOLDER, read_result
from studies.readings import training
from studies.readings.choice import best_allowed, for_preset, trained_best
from studies.readings.measured import ANOMALOUS_SHARE, EXTREME, MOST_SATURATED, Watch, figures
from studies.readings.readings import AS_IT_STOOD, BASE, LOSSES, Reading, attention_readings
from studies.readings.sets import DIGIT, PAPERS, SCREW, TILE, ImageSet, load_set
from studies.readings.training import Budget, set_temperature, start, train
from studies.rows import write_rows

RESULT = "readings"


@dataclass(frozen=True)
class Stage:
    """Where, how large and for how long readings are trained."""

    name: str
    side: int
    sets: tuple[str, ...]
    budget: Budget


SCREENING = Stage("screening", 64, (TILE, PAPERS[0], DIGIT), Budget(steps=150, rate=1e-3, looks=5))
FINAL = Stage("final", 128, (TILE, SCREW, *PAPERS, DIGIT), Budget(steps=150, rate=1e-3, looks=5))
CUTS = (
    "R to layer3 with ImageNet weights (layer4's are not at hand); digits: D without weights, 32 px; z of "
    f"{training.LATENT_CHANNELS} channels, decoder of width {training.DECODER_WIDTH}, batches of "
    f"{training.BATCH_SIZE}, "
    f"D sees {training.CRITIC_SIDE} px; a rate of ten times the preset's, for steps are few"
)


class Study:
    """The rows that there are, and how further ones are made."""

    def __init__(self, root: Path, weights: str) -> None:
        self.root, self.weights = root, weights
        path = FOLDER / f"{RESULT}.jsonl"
        self.rows: list[dict[str, Any]] = read_result(RESULT)["rows"] if path.is_file() else []
        self.sets: dict[tuple[str, int], ImageSet] = {}

    def run(self, stage: Stage, readings: Iterable[Reading], seeds: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of all readings on all sets of a stage; returns the stage's rows."""
        for seed in seeds:
            for group in of_one_network(readings):
                for name in stage.sets:
                    self._rows(stage, group, name, seed)
        return [row for row in self.rows if row["stage"] == stage.name]

    def _rows(self, stage: Stage, group: Sequence[Reading], name: str, seed: int) -> None:
        """The rows of a group that are not there yet, by one training."""
        keys = {one: {"stage": stage.name, "reading": one.name, "data": name, "seed": seed} for one in group}
        missing = [one for one, key in keys.items() if not any(key.items() <= row.items() for row in self.rows)]
        if not missing:
            return
        data, began = self._set(name, stage.side), time.monotonic()
        first = start(missing[0], data, self.weights, seed)
        views = [replace(first, reading=one) for one in missing]
        for view in views:
            set_temperature(view, data, stage.budget, seed)
        watch = Watch(views, data)
        train(first, data, stage.budget, seed, watch)
        found = figures(views, data)
        seconds = round(time.monotonic() - began, 1)
        for one, figure, points in zip(missing, found, watch.points, strict=True):
            settings = {**asdict(one), "allowed": one.is_allowed}
            shown = {"side": data.side, **figure, "seconds_of_all": seconds, "trained_together": len(missing)}
            self.rows.append({**keys[one], **shown, "settings": settings, "watch": points})
            print(json.dumps({**keys[one], "is_trained": figure["is_trained"], "made": figure["made"]}), flush=True)
        write_rows(RESULT, self.rows, header())

    def _set(self, name: str, side: int) -> ImageSet:
        if (name, side) not in self.sets:
            self.sets[name, side] = load_set(self.root, name, side)
        return self.sets[name, side]


def of_one_network(readings: Iterable[Reading]) -> list[list[Reading]]:
    """Readings in groups that share a training.

    Beside sums L_ae weighs about a millionth of L_R, so that readings that differ in A alone train
    the same network; beside means each trains its own.
    """
    groups: dict[tuple[Any, ...], list[Reading]] = {}
    for one in readings:
        key = (one.name,) if one.losses == "means" else one.training
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def header() -> dict[str, Any]:
    """What holds of every row."""
    return {
        "table": RESULT,
        "machine": platform.machine(),
        "device": "cpu",
        "cuts": CUTS,
        "budgets": {stage.name: asdict(stage.budget) for stage in (SCREENING, FINAL)},
        "most_saturated": MOST_SATURATED,
        "extreme": EXTREME,
        "anomalous_share": ANOMALOUS_SHARE,
    }


def main() -> None:
    """Screen the losses, then attention on top of the best of them, then the best of all at full size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--seeds", default="0,1,2")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.root, args.weights)
    study.run(SCREENING, [reading for reading in LOSSES if reading.is_allowed], [0])
    rows = study.run(SCREENING, [BASE], [0])
    trained = trained_best(rows)
    singles = attention_readings(trained)
    rows = study.run(SCREENING, singles, [0])
    readings = [*LOSSES, *singles]
    chosen, best = for_preset(rows, readings), best_allowed(rows, readings)
    first, *others = [int(seed) for seed in args.seeds.split(",")]
    study.run(FINAL, {trained: None, chosen: None, best: None}, [first])
    study.run(SCREENING, LOSSES, [0])  # what is left: nothing is chosen among these
    study.run(FINAL, [AS_IT_STOOD], [first])
    study.run(FINAL, {trained: None, chosen: None, best: None}, others)


if __name__ == "__main__":
    main()
