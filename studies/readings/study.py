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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.result_files import FOLDER, read_result
from studies.readings import training
from studies.readings.choice import best_allowed, combinations, for_preset, trained_best
from studies.readings.measured import ANOMALOUS_SHARE, EXTREME, MOST_SATURATED, Watch, figures
from studies.readings.readings import AS_IT_STOOD, LOSSES, Reading, attention_readings
from studies.readings.sets import DIGIT, PAPERS, SCREW, TILE, ImageSet, load_set
from studies.readings.training import Budget, start, train
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
            for reading in readings:
                for name in stage.sets:
                    self._row(stage, reading, name, seed)
        return [row for row in self.rows if row["stage"] == stage.name]

    def _row(self, stage: Stage, reading: Reading, name: str, seed: int) -> None:
        key = {"stage": stage.name, "reading": reading.name, "data": name, "seed": seed}
        if any(key.items() <= row.items() for row in self.rows):
            return
        data, started = self._set(name, stage.side), time.monotonic()
        trained = start(reading, data, self.weights, seed)
        watch = Watch(trained, data)
        train(trained, data, stage.budget, seed, watch)
        found = figures(trained, data)
        seconds = round(time.monotonic() - started, 1)
        settings = {**asdict(reading), "allowed": reading.is_allowed}
        row = {**key, "side": data.side, **found, "seconds": seconds, "settings": settings, "watch": watch.points}
        self.rows.append(row)
        print(
            json.dumps({name: row[name] for name in ("stage", "reading", "data", "seed", "is_trained", "made")}),
            flush=True,
        )
        write_rows(RESULT, self.rows, header())

    def _set(self, name: str, side: int) -> ImageSet:
        if (name, side) not in self.sets:
            self.sets[name, side] = load_set(self.root, name, side)
        return self.sets[name, side]


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
    rows = study.run(SCREENING, LOSSES, [0])
    trained = trained_best(rows)
    singles = attention_readings(trained)
    rows = study.run(SCREENING, singles, [0])
    joined = combinations(rows, trained)
    rows = study.run(SCREENING, joined, [0])
    readings = [*LOSSES, *singles, *joined]
    chosen, best = for_preset(rows, readings), best_allowed(rows, readings)
    first, *others = [int(seed) for seed in args.seeds.split(",")]
    study.run(FINAL, [chosen, best, AS_IT_STOOD], [first])
    study.run(FINAL, [chosen], others)


if __name__ == "__main__":
    main()
