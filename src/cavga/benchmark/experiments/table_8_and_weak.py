"""Tables at 128 px: the four variants, the paper's ablation, few labelled bad images, bad images among the good."""

from collections.abc import Sequence

from cavga.benchmark.baselines.index import ON_FEATURES, in_table
from cavga.benchmark.experiments.experiment import SCREW, TILE, Experiment, Overrides, merge
from cavga.benchmark.textures import TEXTURE_SETTINGS, TEXTURES
from cavga.config.presets import PRESETS
from cavga.config.variant import VARIANTS

PAPER_EPOCHS, PAPER_EPOCHS_TEXTURE = 5, 8  # of 150, in `variants`: what two cores can do
CONTAMINATION_SHARES = (0.0, 0.02, 0.05, 0.1)  # bad / (good + bad) of what is labelled good
CONTAMINATION_VARIANTS = ("r-s", "r-u")  # with `recommended`; the baselines stand on the features of the first


def variant_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """The four variants with both presets at 128 px, all of them tested without the images that r-w drew."""
    experiments = []
    for seed in seeds:
        for data in (*TEXTURES, TILE, *([SCREW] if seed == seeds[0] else [])):
            for preset in PRESETS:
                if preset == "paper" and data in TEXTURES and seed != seeds[0]:
                    continue  # minutes an experiment
                for variant in ("r-w", "r-u", "d-w", "d-u"):
                    name, first = f"{variant}, {preset}", "r-w, recommended"
                    overrides, note = _at_128_px(variant, preset, data, weights)
                    if preset == "paper":
                        epochs = PAPER_EPOCHS_TEXTURE if data in TEXTURES else PAPER_EPOCHS
                        overrides = merge(overrides, {"training": {"epochs": epochs}})
                        note = f"{note}, {epochs} epochs of 150".removeprefix(", ")
                    without = None if name == first else first
                    experiments.append(
                        Experiment(
                            name, data, preset=preset, overrides=overrides, seed=seed, without=without, note=note
                        )
                    )
    return experiments


def table8_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """The paper's ablation c1 to c8 on magnetic tile, then readings of its text that c4 and c8 leave open."""
    vector: Overrides = {"model": {"latent_shape": "vector", "latent_channels": 100}}
    no_expansion: Overrides = {"loss": {"attention_weight": 0.0}}
    no_guidance: Overrides = {"loss": {"guided_attention_weight": 0.0}}
    no_skip: Overrides = {"model": {"decoder_skip": False}}
    rows: list[tuple[str, str, Overrides]] = [
        ("c8: r-w, conv z, L_cga", "r-w", {}),
        ("c7: r-w, conv z", "r-w", no_guidance),
        ("c6: r-w, flattened z, L_cga", "r-w", vector),
        ("c5: r-w, flattened z", "r-w", merge(vector, no_guidance)),
        ("c4: r-u, conv z, L_ae", "r-u", {}),
        ("c3: r-u, conv z", "r-u", no_expansion),
        ("c2: r-u, flattened z, L_ae", "r-u", vector),
        ("c1: r-u, flattened z", "r-u", merge(vector, no_expansion)),
        ("c4 without the decoder's skip", "r-u", no_skip),
        ("c8 without the decoder's skip", "r-w", no_skip),
        ("c8, map of the probability", "r-w", {"model": {"class_score": "probability"}}),
        ("c8, map if predicted anomalous", "r-w", {"model": {"map_gate": "predicted_anomalous"}}),
        ("c8, classes weighted, w_c = 1", "r-w", {"loss": {"class_balance": "weighted", "classification_weight": 1.0}}),
    ]
    return _tile_experiments(rows, seeds, "paper", weights)


def weak_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """r-w `recommended` on magnetic tile: how many labelled bad images it takes, and what its parts add.

    One epoch: the encoder is frozen and mu whitened, so the decoder alone is trained, which no score uses.
    """
    rows: list[tuple[str, str, Overrides]] = [
        ("16 labelled bad", "r-w", {"data": {"anomalous_fraction": 0.0413}}),
        ("8 labelled bad (2 %)", "r-w", {}),
        ("4 labelled bad", "r-w", {"data": {"anomalous_fraction": 0.0103}}),
        ("2 labelled bad", "r-w", {"data": {"anomalous_fraction": 0.0052}}),
        ("1 labelled bad", "r-w", {"data": {"anomalous_fraction": 0.0026}}),
        ("none (r-u)", "r-u", {}),
        ("8, without L_cga", "r-w", {"loss": {"guided_attention_weight": 0.0}}),
        ("8, w_cga = 1", "r-w", {"loss": {"guided_attention_weight": 1.0}}),
        ("8, classes not weighted", "r-w", {"loss": {"class_balance": "plain"}}),
    ]
    one_epoch: Overrides = {"training": {"epochs": 1}}
    return _tile_experiments([(name, variant, merge(one_epoch, extra)) for name, variant, extra in rows],
                       seeds, "recommended", weights)  # fmt: skip


def contamination_experiments(seeds: Sequence[int], weights: str | None) -> list[Experiment]:
    """`recommended` and the baselines on magnetic tile and screw with some of the good images bad ones, at 128 px."""
    one_epoch: Overrides = {"training": {"epochs": 1}}  # as in `weak_experiments`; D's encoder has to be trained
    experiments = []
    for seed in seeds:
        for data in (TILE, SCREW):
            for variant in CONTAMINATION_VARIANTS:
                overrides, _ = _at_128_px(variant, "recommended", data, weights)
                overrides = merge(overrides, one_epoch if VARIANTS[variant].backbone == "r" else {})
                for share in CONTAMINATION_SHARES:
                    name = contaminated_name(variant, share)
                    experiments.append(Experiment(name, data, overrides=overrides, seed=seed, contamination=share))
            first = CONTAMINATION_VARIANTS[0]
            overrides, _ = _at_128_px(first, "recommended", data, weights)
            for method, baseline in in_table("contamination", ON_FEATURES):
                for share in CONTAMINATION_SHARES:
                    name = contaminated_name(baseline.name, share)
                    experiments.append(
                        Experiment(name, data, method, overrides=overrides, seed=seed,
                             features_of=contaminated_name(first, share), contamination=share, note="baseline")
                    )  # fmt: skip
    return experiments


def contaminated_name(what: str, share: float) -> str:
    """An experiment's name in the table `contamination`: "r-u, 5 % bad"."""
    return f"{what}, {100 * share:g} % bad"


def _tile_experiments(
    rows: Sequence[tuple[str, str, Overrides]], seeds: Sequence[int], preset: str, weights: str | None
) -> list[Experiment]:
    """(name, variant, overrides) on magnetic tile, all tested without what the first one was trained on."""
    first, experiments = rows[0][0], []
    for seed in seeds:
        for name, variant, extra in rows:
            overrides, note = _at_128_px(variant, preset, TILE, weights)
            experiments.append(Experiment(name, TILE, preset=preset, overrides=merge(overrides, extra), seed=seed,
                              without=None if name == first else first, note=note))  # fmt: skip
    return experiments


def _at_128_px(variant: str, preset: str, data: str, weights: str | None) -> tuple[Overrides, str]:
    """What an experiment at 128 px is run with, and what of the paper's settings was left out."""
    base: Overrides = {"data": {"image_size": (128, 128)}, "model": {"variant": variant}}
    if data in TEXTURES:
        return merge(TEXTURE_SETTINGS, base), ""
    if VARIANTS[variant].backbone == "r":
        base = merge(base, {"model": {"weights": weights or "imagenet"}})
        if preset == "paper":  # the weights at hand end at layer3
            return merge(base, {"model": {"stages": (3,), "latent_channels": 256}}), "R to layer3"
    return base, ""
