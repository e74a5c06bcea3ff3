"""The paper's Tables 3 to 6: MVTec AD, mSTC and LAG with its four variants, and beside them what is not the paper's."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from cavga.benchmark.baselines.index import FITTED, LABELLED, ON_FEATURES, TRAINED, Baseline, in_table
from cavga.benchmark.experiments.experiment import TILE, Experiment, Overrides, merge
from cavga.config.variant import VARIANTS
from cavga.data.readers.published import MVTEC_AD_CATEGORIES, SHANGHAITECH_SCENES
from cavga.structured_files import StructureError, parse_json

WEAK, UNSUPERVISED = ("d-u", "r-u", "d-w", "r-w"), ("d-u", "r-u")
NOT_THE_PAPER = "not the paper's settings"


def table3_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """Every category of MVTec AD, and magnetic tile as a data set that the paper does not have; Table 6 has the same.

    Each row is tested on the official test images, but for those that a w variant drew to train on.
    """
    places: list[tuple[str, Overrides]] = [(f"mvtec_ad/{name}", {}) for name in MVTEC_AD_CATEGORIES]
    experiments: list[Experiment] = []
    for seed in seeds:
        for data, chosen in [*places, (TILE, {})]:
            experiments += _experiments(data, chosen, WEAK, seed, weights, baselines=in_table("table3", ON_FEATURES))
            experiments += _compared(data, chosen, seed, weights)
    return experiments


def table4_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """The twelve scenes of mSTC that have a test. No baselines: a memory of so many frames fits no machine at hand."""
    experiments: list[Experiment] = []
    for seed in seeds:
        for scene in SHANGHAITECH_SCENES:
            experiments += _experiments(
                "shanghaitech", {"data": {"category": scene}}, WEAK, seed, weights, baselines=()
            )
    return experiments


def table5_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """LAG, good images only, as in the paper; then what the paper holds against it, which sees image labels."""
    experiments: list[Experiment] = []
    for seed in seeds:
        experiments += _experiments("lag", {}, UNSUPERVISED, seed, weights, baselines=in_table("table5", ON_FEATURES))
        experiments += _explanations("lag", seed, weights)
    return experiments


def _explanations(data: str, seed: int, weights: str | None) -> Iterator[Experiment]:
    """CAM, guided backpropagation and SmoothGrad, each of a classifier of image labels."""
    has_layer4 = _has_layer4(weights)
    overrides: Overrides = {
        # A w variant is what takes labelled images, or draws some of the test's where there are none.
        "model": {"variant": "r-w", "weights": weights or "imagenet", "stages": (4,) if has_layer4 else (3,)},
        "training": {"epochs": 10, "learning_rate": 1e-4},
    }
    note = "baseline; sees anomalous training images: explains a ResNet-18 that is trained on image labels"
    note += "" if has_layer4 else "; to layer3: the weights file ends there"
    for method, baseline in in_table("table5", LABELLED):
        yield Experiment(baseline.name, data, method, overrides=overrides, seed=seed, with_spare=True, note=note)


def _experiments(
    data: str,
    chosen: Overrides,
    variants: Sequence[str],
    seed: int,
    weights: str | None,
    *,
    baselines: Sequence[tuple[str, Baseline]],
) -> Iterator[Experiment]:
    """The variants with preset `paper`, then those and r-s with `recommended`, then baselines on r-u's features."""
    is_extra = data == TILE
    for preset in ("paper", "recommended"):
        for variant in (*variants, *(["r-s"] if preset == "recommended" else [])):
            model: Overrides = {"model": {"variant": variant}}
            note = NOT_THE_PAPER if preset == "recommended" else ""
            if VARIANTS[variant].backbone == "r":
                model = merge(model, {"model": {"weights": weights or "imagenet"}})
                if preset == "paper" and not _has_layer4(weights):
                    model = merge(model, {"model": {"stages": (3,), "latent_channels": 256}})
                    note = "R to layer3: the weights file ends there"
            yield Experiment(f"{variant}, {preset}", data, preset=preset, overrides=merge(chosen, model), seed=seed,
                       note=note, is_extra=is_extra)  # fmt: skip
    base = merge(chosen, {"model": {"variant": "r-u", "weights": weights or "imagenet"}})
    for method, baseline in baselines:
        yield Experiment(f"{baseline.name}, same features", data, method, overrides=base, seed=seed,
                   features_of="r-u, recommended", note="baseline", is_extra=is_extra)  # fmt: skip


def _compared(data: str, chosen: Overrides, seed: int, weights: str | None) -> Iterator[Experiment]:
    """The comparison methods that stand on no run of ours: on statistics, a pretrained network, or one of their own."""
    pretrained: Overrides = {"model": {"variant": "r-u", "weights": weights or "imagenet"}}
    if not _has_layer4(weights):
        pretrained = merge(pretrained, {"model": {"stages": (3,)}})
    own: Overrides = {"model": {"variant": "d-u", "weights": "none", "decoder_width": 32}}
    for method, baseline in (*in_table("table3", FITTED), *in_table("table3", TRAINED)):
        overrides = merge(chosen, pretrained if method == "cnnfd" else own)
        note = "baseline"
        if baseline.epochs:
            overrides = merge(overrides, {"training": {"epochs": baseline.epochs}})
            note = f"baseline, {baseline.epochs} epochs"
        yield Experiment(baseline.name, data, method, overrides=overrides, seed=seed, note=note, is_extra=data == TILE)


def _has_layer4(weights: str | None) -> bool:
    """Whether an encoder to layer4 can be made of the weights; of other files than .safetensors it is believed."""
    path = Path(weights or "imagenet")
    if path.suffix != ".safetensors" or not path.is_file():
        return True
    with path.open("rb") as file:  # the header alone: names and shapes
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            names = parse_json(file.read(min(size, 1 << 24)), dict)
        except StructureError:  # a damaged file is named when an experiment reads it
            return True
    return "layer4.0.conv1.weight" in names
