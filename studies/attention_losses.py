"""What L_ae was replaced by after the paper, in its place: r-u of `recommended` on the textures.

python -m studies.attention_losses OUTPUT [--seeds 0,1,2]

There the encoder is trained, so that a loss of attention can change a score; with frozen features none can. OUTPUT is
that of `cavga benchmark`: rows of L_ae and without it are those of its table textures, no finished row is run twice.
Writes benchmarks/results/attention_losses.jsonl.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from cavga.benchmark.experiments.accuracy import texture_experiments
from cavga.benchmark.experiments.experiment import Experiment, merge
from cavga.benchmark.runner import run_experiment
from cavga.benchmark.textures import write_textures
from cavga.training import objectives
from studies.rows import write_rows

RESULT = "attention_losses"
LEAST_COVERAGE, SHARPNESS = 0.8, 20.0  # mean(A) of each image is to be at least this; t of the barrier
WEIGHTS = (0.01, 0.1)


def inequality(attention: Tensor) -> Tensor:
    """The square of what mean(A) lacks of LEAST_COVERAGE (Silva-Rodriguez et al., MedIA 2022, as a penalty)."""
    return (LEAST_COVERAGE - attention.mean(dim=(1, 2))).clamp_min(0).square().mean()


def log_barrier(attention: Tensor) -> Tensor:
    """The extended log-barrier of mean(A) >= LEAST_COVERAGE (the same; Kervadec et al. 2019)."""
    lacking = LEAST_COVERAGE - attention.mean(dim=(1, 2))
    inside = lacking <= -1 / SHARPNESS**2
    barrier = -torch.log(-torch.where(inside, lacking, -torch.ones_like(lacking))) / SHARPNESS
    beyond = SHARPNESS * lacking - log(1 / SHARPNESS**2) / SHARPNESS + 1 / SHARPNESS
    return torch.where(inside, barrier, beyond).mean()


def negative_entropy(attention: Tensor) -> Tensor:
    """Minus the Shannon entropy of A over the patches of an image, in units of the largest (AMCons, 2022)."""
    shares = attention.flatten(1).softmax(dim=1)
    return (shares * shares.log()).sum(dim=1).mean() / log(shares.shape[1])


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean(A) at least 0.8": inequality,
    "log-barrier": log_barrier,
    "entropy": negative_entropy,
}


def main() -> None:
    """Run what is not finished, one row after another, and write the file after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    args = parser.parse_args()
    write_textures(args.output / "data")
    rows = []
    for experiment, table, loss in experiments_of([int(seed) for seed in args.seeds.split(",")]):
        with in_place_of_l_ae(loss):
            rows.append(run_experiment(experiment, args.output / "data", args.output / table))
        write_rows(RESULT, rows)


def experiments_of(seeds: list[int]) -> Iterator[tuple[Experiment, str, Callable[[Tensor], Tensor] | None]]:
    """Every experiment, the table whose folder it lies in, and the loss in place of L_ae."""
    experiments = [
        experiment
        for experiment in texture_experiments(seeds, None)
        if experiment.method == "cavga" and experiment.kind == "r-u"
    ]
    for experiment in experiments:
        if experiment.name in ("recommended", "without L_ae"):
            yield experiment, "textures", None
        if experiment.name == "recommended":
            for name, loss in LOSSES.items():
                for weight in WEIGHTS:
                    overrides = merge(experiment.overrides, {"loss": {"attention_weight": weight}})
                    yield (
                        Experiment(
                            f"{name}, w_ae = {weight}", experiment.data, overrides=overrides, seed=experiment.seed
                        ),
                        RESULT,
                        loss,
                    )


@contextmanager
def in_place_of_l_ae(loss: Callable[[Tensor], Tensor] | None) -> Iterator[None]:
    """Train with another loss of attention; None leaves L_ae."""
    if loss is None:
        yield
        return
    with patch.object(objectives, "attention_expansion_loss", loss):
        yield


if __name__ == "__main__":
    main()
