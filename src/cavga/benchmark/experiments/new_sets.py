"""A table of sets that nothing was chosen on: the papers of PIPED, each by itself, and single frames of UCSD Ped2."""

from collections.abc import Sequence

from cavga.benchmark.baselines.index import ON_FEATURES, in_table
from cavga.benchmark.experiments.experiment import PED2, PIPED, Experiment, Overrides, merge

PAPERS = (
    "BDP01",
    "BFT01",
    "BRG01",
    "BRG02",
    "BRG03",
    "BTN01",
    "FLR01",
    "FLR02",
    "FVN01",
    "FVN02",
    "GLA01",
    "ZPB01",
)
LITE_ENCODERS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")  # their weights come from packages


def new_sets_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """The default and every baseline on its features; with the first seed other encoders too, and Ped2 at all."""
    base: Overrides = {"model": {"variant": "r-s"}}
    ours = merge(base, {"model": {"weights": weights or "imagenet"}})
    experiments = []
    for seed in seeds:
        is_first = seed == seeds[0]
        sets: list[tuple[str, str | None]] = [(PIPED, paper) for paper in PAPERS]
        sets += [(PED2, None)] if is_first else []
        for data, paper in sets:
            experiments.append(Experiment("r-s, recommended", data, overrides=ours, seed=seed, paper=paper))
            experiments += [
                Experiment(f"{baseline.name}, same features", data, method, overrides=ours, seed=seed, paper=paper,
                           features_of="r-s, recommended", note="baseline")
                for method, baseline in in_table("new-sets", ON_FEATURES)
            ]  # fmt: skip
        for encoder in LITE_ENCODERS if is_first else ():
            overrides = merge(base, {"model": {"encoder": encoder, "weights": "imagenet"}})
            experiments += [
                Experiment(f"r-s, {encoder}", data, overrides=overrides, seed=seed, paper=paper) for data, paper in sets
            ]
    return experiments
