"""The default beside stronger baselines, image by image: PatchCore with our factor model, PaDiM at the finest stage.

python -m studies.paired OUTPUT ROOT WEIGHTS [--datasets A,B] [--methods A,B]

r-u stands for the default: its image scores are those of r-s, whose patch classifier, minutes to train, changes the map
alone. Of its score both parts are measured by themselves. No finished row is run twice. Writes
benchmarks/results/paired.jsonl: rows, and B - A with paired 95 % intervals, where A is a baseline and B is r-u.
"""

import argparse
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cavga.benchmark.experiments.accuracy import accuracy_experiments
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.runner import run_experiment
from cavga.evaluation.compare import compare_evaluations
from studies.rows import write_rows
from studies.tile_groups_rows import parts_of

RESULT = "paired"
OURS = "r-u, recommended"
METHODS = ("patchcore_factors", "padim_finest")
FIGURES = ("image_auroc", "pixel_auroc")


def main() -> None:
    """Run what is not finished, and write the file after each row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--datasets", type=lambda text: text.split(","), help="folders below ROOT; without it all four")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=METHODS)
    args = parser.parse_args()
    place = args.output / RESULT
    rows, differences = [], []
    for experiment in experiments_of(args.weights, args.datasets, args.methods):
        row = run_experiment(experiment, args.root, place)
        if experiment.method == "cavga":
            row["image_auroc_of"] = parts_of(place / experiment.folder, args.root / experiment.data)
        elif not row["error"]:
            differences.append(difference(experiment, place))
        rows.append(row)
        header = {"table": RESULT, "machine": platform.machine(), "differences": differences}
        write_rows(RESULT, rows, header)


def experiments_of(weights: str, datasets: Sequence[str] | None, methods: Sequence[str]) -> list[Experiment]:
    """R-u of every data set, then the baselines on its features."""
    found = [experiment for experiment in accuracy_experiments((0,), weights) if _is_wanted(experiment, methods)]
    names = datasets or list(dict.fromkeys(experiment.data for experiment in found))
    chosen = [experiment for experiment in found if experiment.data in names]
    first = [experiment for experiment in chosen if experiment.name == OURS]
    then = [replace(experiment, features_of=OURS) for experiment in chosen if experiment.name != OURS]
    return first + then


def _is_wanted(experiment: Experiment, methods: Sequence[str]) -> bool:
    return experiment.name == OURS or experiment.method in methods


def difference(experiment: Experiment, place: Path) -> dict[str, Any]:
    """Ours minus a baseline's on the same test images, at the figures that both have."""
    ours = replace(experiment, name=OURS)
    compared = compare_evaluations(place / experiment.folder, place / ours.folder)
    figures = {name: found for name, found in compared["metrics"].items() if name in FIGURES}
    return {"a": experiment.name, "b": OURS, "data": experiment.data, "seed": experiment.seed, "figures": figures}


if __name__ == "__main__":
    main()
