"""Tables of what learns from good images only: the demo, the screw, and accuracy on the real sets."""

from collections.abc import Sequence

from cavga.benchmark.baselines.index import ON_FEATURES, in_table
from cavga.benchmark.experiments.experiment import (
    ELPV,
    FROZEN_PAPER,
    FROZEN_PAPER_NOTE,
    JUICE,
    SCREW,
    TILE,
    Experiment,
    Overrides,
    merge,
)
from cavga.benchmark.textures import TEXTURE_SETTINGS, TEXTURES
from cavga.config.schema import AUTO
from cavga.images.input_size import MOST_SIDE


def texture_experiments(seeds: Sequence[int], _weights: str | None) -> list[Experiment]:
    """The textures: u and s, what training the encoder and L_ae add, the baseline."""
    made: Overrides = {"model": {"variant": "r-s"}, "training": {"epochs": 10}}
    untrained: Overrides = {"model": {"weights": "none", "train_encoder": False}}
    no_attention: Overrides = {"loss": {"attention_weight": 0.0}}
    paper: Overrides = {"training": {"epochs": 15}}
    base, experiments = merge(TEXTURE_SETTINGS, {"model": {"variant": "r-u"}}), []
    for seed in seeds:
        for texture in TEXTURES:
            for name, preset, extra, note in (
                ("recommended", "recommended", {}, ""),
                ("r-s, recommended", "recommended", made, "encoder, latent and C trained on synthetic anomalies"),
                ("untrained encoder", "recommended", untrained, "encoder random and frozen"),
                ("without L_ae", "recommended", no_attention, "w_ae = 0"),
                ("paper", "paper", paper, "15 epochs of 150; one seed"),
            ):
                if preset == "paper" and seed != seeds[0]:
                    continue  # minutes an experiment
                overrides = merge(base, extra)
                experiments.append(Experiment(name, texture, preset=preset, overrides=overrides, seed=seed, note=note))
            experiments += _same_features("textures", texture, base, seed, features_of="recommended")
    return experiments


def screw_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """MVTec's screw with ImageNet's ResNet-18: both presets, what training mu takes, and the baseline."""
    source = weights or "imagenet"
    base: Overrides = {"model": {"variant": "r-u", "weights": source}}
    experiments = []
    for seed in seeds:
        for name, preset, extra, note in (
            ("recommended", "recommended", {}, ""),
            ("lower half of the spectrum", "recommended", {"model": {"spectrum": (0.5, 1.0)}}, "spectrum 0.5 to 1"),
            ("standard prior", "recommended", {"model": {"prior": "standard"}}, "N(0, I) at every position"),
            ("lower half, standard prior", "recommended", {"model": {"spectrum": (0.5, 1.0), "prior": "standard"}}, ""),
            ("mu trained on", "recommended", {"model": {"train_latent": True}}, "whitened mu, then trained with Eq. 4"),
            ("paper", "paper", FROZEN_PAPER, FROZEN_PAPER_NOTE),
        ):
            experiments.append(
                Experiment(name, SCREW, preset=preset, overrides=merge(base, extra), seed=seed, note=note)
            )
        experiments += _same_features("screw", SCREW, base, seed, features_of="recommended")
    return experiments


def accuracy_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """The good-images-only variants and both baselines on the real sets at 256 px.

    `r-s` and the baselines with every seed (of a baseline it draws the first patch and the images that set thresholds),
    `r-u` with the first one alone: its image scores are those of `r-s`.
    """
    base: Overrides = {"model": {"variant": "r-u", "weights": weights or "imagenet"}}
    r_s = merge(base, {"model": {"variant": "r-s"}})
    experiments = []
    for seed in seeds:
        for data in (TILE, SCREW, JUICE, ELPV):
            experiments.append(Experiment("r-s, recommended", data, overrides=r_s, seed=seed))
            experiments += _same_features("accuracy", data, base, seed, features_of="r-s, recommended")
            if seed != seeds[0]:
                continue
            experiments.append(Experiment("r-u, recommended", data, overrides=base, seed=seed))
            overrides = merge(base, FROZEN_PAPER)
            experiments.append(
                Experiment("r-u, paper", data, preset="paper", overrides=overrides, seed=seed, note=FROZEN_PAPER_NOTE)
            )
    return experiments


def _same_features(table: str, data: str, base: Overrides, seed: int, *, features_of: str) -> list[Experiment]:
    """The baselines of a table that stand on the features of one of its experiments."""
    return [
        Experiment(f"{baseline.name}, same features", data, method, overrides=base, seed=seed,
                   features_of=features_of, note="baseline")
        for method, baseline in in_table(table, ON_FEATURES)
    ]  # fmt: skip


def auto_size_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """The default as a user has it, at the size that follows from the photographs; the strongest baseline on screw."""
    settings: Overrides = {"model": {"variant": "r-s", "weights": weights or "imagenet"}, "data": {"image_size": AUTO}}
    experiments = []
    for seed in seeds:
        for data in (SCREW, ELPV, JUICE, TILE):
            experiments.append(Experiment("r-s, recommended", data, overrides=settings, seed=seed))
        settled = merge(settings, {"data": {"image_size": (MOST_SIDE, MOST_SIDE)}})  # screw's, at auto
        experiments += _same_features("auto-size", SCREW, settled, seed, features_of="r-s, recommended")
    return experiments
