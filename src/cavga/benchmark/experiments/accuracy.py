"""Tables of what learns from good images only: the demo, the screw, and accuracy on the real sets."""

from collections.abc import Sequence

from cavga.benchmark.experiments.experiment import (
    ELPV,
    FROZEN_PAPER,
    FROZEN_PAPER_NOTE,
    JUICE,
    SCREW,
    TILE,
    Cell,
    Overrides,
    merge,
)
from cavga.demo.run import TEXTURE_SETTINGS
from cavga.demo.textures import TEXTURES


def demo_cells(seeds: Sequence[int], _weights: str | None) -> list[Cell]:
    """The demo's textures: good images only and made anomalies, what training the encoder and L_ae add, the control."""
    made: Overrides = {"model": {"variant": "r-s"}, "training": {"epochs": 10}}
    untrained: Overrides = {"model": {"weights": "none", "train_encoder": False}}
    no_attention: Overrides = {"loss": {"attention_weight": 0.0}}
    paper: Overrides = {"training": {"epochs": 15}}
    base, cells = merge(TEXTURE_SETTINGS, {"model": {"variant": "r-u"}}), []
    for seed in seeds:
        for texture in TEXTURES:
            for name, preset, extra, note in (
                ("recommended", "recommended", {}, ""),
                ("r-s, recommended", "recommended", made, "encoder, latent and C trained on made anomalies"),
                ("untrained encoder", "recommended", untrained, "encoder random and frozen"),
                ("without L_ae", "recommended", no_attention, "w_ae = 0"),
                ("paper", "paper", paper, "15 epochs of 150; one seed"),
            ):
                if preset == "paper" and seed != seeds[0]:
                    continue  # minutes a cell
                overrides = merge(base, extra)
                cells.append(Cell(name, texture, preset=preset, overrides=overrides, seed=seed, note=note))
            cells.append(
                Cell("PaDiM, same features", texture, "padim", overrides=base, seed=seed,
                     features_of="recommended", note="control")
            )  # fmt: skip
    return cells


def screw_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """MVTec's screw with ImageNet's ResNet-18: both presets, what training mu takes, and the control."""
    source = weights or "imagenet"
    base: Overrides = {"model": {"variant": "r-u", "weights": source}}
    cells = []
    for seed in seeds:
        for name, preset, extra, note in (
            ("recommended", "recommended", {}, ""),
            ("lower half of the spectrum", "recommended", {"model": {"spectrum": (0.5, 1.0)}}, "spectrum 0.5 to 1"),
            ("standard prior", "recommended", {"model": {"prior": "standard"}}, "N(0, I) at every position"),
            ("lower half, standard prior", "recommended", {"model": {"spectrum": (0.5, 1.0), "prior": "standard"}}, ""),
            ("mu trained on", "recommended", {"model": {"train_latent": True}}, "whitened mu, then trained with Eq. 4"),
            ("paper", "paper", FROZEN_PAPER, FROZEN_PAPER_NOTE),
        ):
            cells.append(Cell(name, SCREW, preset=preset, overrides=merge(base, extra), seed=seed, note=note))
        cells.append(Cell("PaDiM, same features", SCREW, "padim", overrides=base, seed=seed,
                          features_of="recommended", note="control"))  # fmt: skip
    return cells


def accuracy_cells(seeds: Sequence[int], weights: str | None) -> list[Cell]:
    """The good-images-only variants and both controls on the real sets at 256 px.

    `r-s` and the controls with every seed (of a control it draws the first patch and the images that set thresholds),
    `r-u` with the first one alone: its image scores are those of `r-s`.
    """
    base: Overrides = {"model": {"variant": "r-u", "weights": weights or "imagenet"}}
    r_s = merge(base, {"model": {"variant": "r-s"}})
    cells = []
    for seed in seeds:
        for data in (TILE, SCREW, JUICE, ELPV):
            cells.append(Cell("r-s, recommended", data, overrides=r_s, seed=seed))
            for name, method in (("PaDiM, same features", "padim"), ("PatchCore, same features", "patchcore")):
                cells.append(Cell(name, data, method, overrides=base, seed=seed,
                                  features_of="r-s, recommended", note="control"))  # fmt: skip
            if seed != seeds[0]:
                continue
            cells.append(Cell("r-u, recommended", data, overrides=base, seed=seed))
            cells.append(Cell("r-u, paper", data, preset="paper", overrides=merge(base, FROZEN_PAPER), seed=seed,
                              note=FROZEN_PAPER_NOTE))  # fmt: skip
    return cells
