"""Other encoders behind the same interface, with and without attention that is guided to synthetic anomalies.

python -m studies.encoders OUTPUT ROOT RESNET18_WEIGHTS SQUEEZENET_WEIGHTS

r-u has no guided attention: with a frozen encoder L_ae changes nothing there (docs/decisions/0016). r-s trains C with
L_cga on synthetic anomalies. OUTPUT is that of `cavga benchmark`: rows of ResNet-18 are those of its table accuracy,
and no finished row is run twice. ROOT holds magnetic_tile and mvtec_ad/screw. Writes benchmarks/results/encoders.jsonl.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from cavga.benchmark.experiments.accuracy import accuracy_experiments
from cavga.benchmark.experiments.experiment import SCREW, TILE, Experiment, Overrides
from cavga.benchmark.runner import run_experiment
from studies.rows import write_rows

RESULT = "encoders"
VARIANTS = ("r-u", "r-s")


def main() -> None:
    """Run what is not finished, one row after another, and write the file after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("resnet18")
    parser.add_argument("squeezenet")
    args = parser.parse_args()
    rows = []
    for experiment, table in experiments_of(args.resnet18, args.squeezenet):
        row = run_experiment(experiment, args.root, args.output / table)
        encoder = experiment.config().model.encoder
        rows.append({**row, "cell": f"{encoder}, {experiment.kind}"})
        write_rows(RESULT, rows)


def experiments_of(resnet18: str, squeezenet: str) -> Iterator[tuple[Experiment, str]]:
    """Every experiment and the table whose folder it lies in."""
    names = [f"{variant}, recommended" for variant in VARIANTS]
    for experiment in accuracy_experiments((0,), resnet18):
        if experiment.name in names and experiment.data in (TILE, SCREW):
            yield experiment, "accuracy"
    for variant in VARIANTS:
        model: Overrides = {"model": {"variant": variant, "encoder": "squeezenet1_0", "weights": squeezenet}}
        for data in (TILE, SCREW):
            yield Experiment(f"squeezenet1_0, {variant}", data, overrides=model), "encoders"


if __name__ == "__main__":
    main()
