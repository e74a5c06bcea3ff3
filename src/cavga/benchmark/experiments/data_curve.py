"""How many good images it takes, and whether L_ae lowers that, as the paper says: magnetic tile at 128 px."""

from collections.abc import Sequence
from typing import Literal

from cavga.benchmark.experiments.experiment import TILE, Experiment, Overrides, merge
from cavga.config.presets import PAPER

NUM_IMAGES: tuple[int | Literal["all"], ...] = (5, 10, 20, 50, 100, "all")
# Equal for every number of images: an epoch is so many batches of 16, nearly one pass over all images.
STEPS_PER_EPOCH = 16
PAPER_NOTE = "R to layer3; as many steps whatever the number of images"
RECOMMENDED_NOTE = "no score reads what Eq. 4 trains, so L_ae changes none"


def data_curve_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """R_u of preset `paper` with and without L_ae, and `recommended`, at every number of images."""
    base: Overrides = {
        "data": {"image_size": (128, 128)},
        "model": {"variant": "r-u", "weights": weights or "imagenet"},
        "training": {"steps_per_epoch": STEPS_PER_EPOCH, "epochs": 1},
    }
    paper = merge(
        base, {"model": {"stages": (3,), "latent_channels": 256}, "training": {"epochs": PAPER.training.epochs}}
    )
    rows: list[tuple[str, str, Overrides, str]] = [
        ("r-u, paper", "paper", paper, PAPER_NOTE),
        ("r-u, paper, without L_ae", "paper", merge(paper, {"loss": {"attention_weight": 0.0}}), PAPER_NOTE),
        ("r-u, recommended", "recommended", base, RECOMMENDED_NOTE),
        ("r-s, recommended", "recommended", merge(base, {"model": {"variant": "r-s"}}), RECOMMENDED_NOTE),
    ]
    return [
        Experiment(name, TILE, preset=preset, overrides=overrides, seed=seed, num_images=number, note=note)
        for seed in seeds
        for number in NUM_IMAGES
        for name, preset, overrides, note in rows
    ]
