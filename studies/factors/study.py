"""One factor at a time on frozen features: what the prior, the score and the map are made of.

python -m studies.factors.study ROOT WEIGHTS CACHE [--datasets magnetic_tile,elpv_mono] [--only mixture,latent]

Writes benchmarks/results/study.jsonl; rows of other data sets and experiments that it holds stay. Features of every
image are computed once and kept in CACHE as half-precision arrays (about 2 GB). A fifth of the good training images is
held out; the choice is made on anomalies of the self-test put on those ("made"). The figures on the real test images
("test") stand beside them for diagnosis and decide nothing.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.result_files import FOLDER, read_result
from cavga.calibration.thresholds import conformal_threshold
from cavga.config.presets import make_config
from cavga.data.catalog import load_catalog
from cavga.data.dataset import cache_images, image_batches
from cavga.data.manifest import sha256_of
from cavga.data.records import ImageRecord, hold_out
from cavga.inference.graph import enlarged, map_score
from cavga.metrics.image import auroc
from cavga.metrics.pixel import PixelHistogram
from cavga.model.build import build
from cavga.model.pretrained import load_encoder_weights
from cavga.model.prior import largest_mean, smoothed
from cavga.synthetic.controlled import CONTROLLED_NAMES, synthesise_controlled_anomaly
from cavga.training.fit_guided_head import synthetic_images
from studies.factors.borders import SCALINGS, by_border
from studies.factors.energies import PARTS, Maps, energies, factors, projected, unit
from studies.factors.feature_decoder import decoded
from studies.factors.feature_makers import changes_of, classified, made
from studies.factors.mixtures import alike, centres_of, mixture, of_own_cells
from studies.rows import mask_at, rounded, write_rows

SETS = ("magnetic_tile", "mvtec_ad/screw", "mvtec_loco/juice_bottle", "elpv_mono")
SIZE, MADE_SEED, SYNTHETIC_PER_IMAGE = (256, 256), 5, 3
MADE_SIZES, MADE_CONTRASTS = (0.03, 0.06, 0.12, 0.25, 0.45), (1.0, 2.0, 4.0)
POWER, CHANNELS = 0.25, 128
RESULT = "study"
CPU = torch.device("cpu")
Rows = Iterator[dict[str, Any]]


@dataclass
class Set:
    """Features of a data set's parts, and what is known of them."""

    features: Maps
    masks: dict[str, np.ndarray]
    labels: np.ndarray
    fitted: np.ndarray
    encode: Callable[[np.ndarray], Tensor]


def main() -> None:
    """All sets, all experiments or some; the file is written after every row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--datasets", default=",".join(SETS))
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="experiments, separated by commas")
    args = parser.parse_args()
    datasets, experiments = args.datasets.split(","), args.only.split(",")
    found = read_result(RESULT)["rows"] if (FOLDER / f"{RESULT}.jsonl").is_file() else []
    rows = [row for row in found if row["data"] not in datasets or group_of(row) not in experiments]
    for name in datasets:
        data = load_set(args.root / name, args.weights, args.cache / name.replace("/", "-"))
        x = projected(data.features, power=POWER, channels=CHANNELS)
        chosen = mixture(x, *centres_of(x))
        for experiment in experiments:
            for line in EXPERIMENTS[experiment](data, x, chosen):
                rows.append({"data": name, **line})
                print(json.dumps(rows[-1]), flush=True)
                write_rows(RESULT, in_order(rows), {"size": SIZE[0], "seed": 0})


def group_of(row: dict[str, Any]) -> str:
    """The key of EXPERIMENTS that a row belongs to."""
    return str(row["experiment"]).partition(":")[0]


def in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows by data set and experiment."""
    groups = list(EXPERIMENTS)
    return sorted(rows, key=lambda row: (SETS.index(row["data"]), groups.index(group_of(row))))


def load_set(folder: Path, weights: str, cache: Path) -> Set:
    """Split, make anomalies on the held-out images and compute features, or read them from the cache."""
    catalog = load_catalog(folder)
    fitted, held = hold_out(catalog.split("train"), fraction=0.2, seed=0)
    tested = catalog.split("test")
    images = {part: cached(records, cache) for part, records in (("fit", fitted), ("held", held), ("test", tested))}
    images["made"], made_masks = made_on(images["held"])
    model = build(make_config("recommended", {"model": {"variant": "r-u", "weights": weights}}).model, image_size=SIZE)
    load_encoder_weights(model.encoder, weights)
    model.eval()

    @torch.no_grad()
    def encode(pixels: np.ndarray) -> Tensor:
        return torch.cat([model.mu_head.merged(model.encode_stages(x)).half() for x in image_batches(pixels, CPU)])

    features = {}
    for part, pixels in images.items():
        path = cache / f"features-{part}.npy"
        if not path.is_file():
            np.save(path, encode(pixels).numpy())
        features[part] = torch.from_numpy(np.load(path))
    masks = {"made": made_masks, "test": np.stack([mask_of(record) for record in tested])}
    return Set(features, masks, np.array([record.label for record in tested]), images["fit"], encode)


def cached(records: Sequence[ImageRecord], cache: Path) -> np.ndarray:
    """The images at the input size."""
    return cache_images(records, [sha256_of(record.path) for record in records], size=SIZE, folder=cache)


def mask_of(record: ImageRecord) -> np.ndarray:
    """The mask at the input size; empty for a good image."""
    return mask_at(record, SIZE[0]) if record.mask_paths else np.zeros(SIZE, dtype=bool)


def made_on(held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Anomalies of all kinds in turn, of random size and contrast."""
    rng, images, masks = np.random.default_rng(MADE_SEED), [], []
    for number in range(SYNTHETIC_PER_IMAGE * len(held)):
        size, contrast = rng.choice(MADE_SIZES), rng.choice(MADE_CONTRASTS)
        image = np.asarray(held[number // SYNTHETIC_PER_IMAGE])
        made = synthesise_controlled_anomaly(
            image, CONTROLLED_NAMES[number % len(CONTROLLED_NAMES)], size=float(size), contrast=float(contrast), rng=rng
        )
        if made is not None:
            images.append(made[0])
            masks.append(made[1])
    return np.stack(images), np.stack(masks)


def of_energies(data: Set, _x: Maps, chosen: Maps) -> Rows:
    """The chosen energy beside Gaussian ones."""
    yield row(data, "energy", "mixture, as chosen", chosen)
    for name, maps in energies(data.features):
        yield row(data, "energy", name, maps)


def of_mixtures(data: Set, x: Maps, _chosen: Maps) -> Rows:
    """The mixture with one of its settings changed."""
    for name, options in {
        "1000 centres": {"num_centres": 1000}, "8000 centres": {"num_centres": 8000},
        "32,768 candidates": {"num_candidates": 32768}, "random centres": {"greedy": False},
        "all deviations alike": {"deviations": alike}, "deviations of its own cells": {"deviations": of_own_cells},
    }.items():  # fmt: skip
        yield row(data, "mixture", name, mixture(x, *centres_of(x, **options)))


def of_latents(data: Set, _x: Maps, _chosen: Maps) -> Rows:
    """The mixture in another latent."""
    for power, channels in ((0.0, CHANNELS), (0.5, CHANNELS), (POWER, 64), (POWER, 256)):
        x = projected(data.features, power=power, channels=channels)
        yield row(data, "latent", f"power {power}, {channels} channels", mixture(x, *centres_of(x)))


def of_rules(data: Set, _x: Maps, chosen: Maps) -> Rows:
    """The image's score, by other rules."""
    for name, rule in RULES.items():
        yield row(data, "image score", name, chosen, {part: rule(chosen[part]) for part in PARTS})


def of_factors(data: Set, x: Maps, chosen: Maps) -> Rows:
    """The factor model by itself, and together with the mixture."""
    for pool, channels, explained in ((2, 32, 0.97), (2, 128, 0.97), (4, 128, 0.97), (2, 32, 0.9), (2, 32, 0.99)):
        maps, scores = factors(x, pool=pool, channels=channels, explained=explained)
        name = f"{pool} x {pool} cells, {channels} channels, {explained}"
        yield row(data, "factor model: alone", name, maps, scores)
        yield from joined(data, "factor model", name, chosen, maps, scores)


def of_borders(data: Set, x: Maps, chosen: Maps) -> Rows:
    """Mixture and factor model together, patches near the border counted in various scales."""
    flat, norms = factors(x, pool=2, channels=32, explained=0.99)
    for name, scaled in SCALINGS.items():
        local, coarse = ({part: scaled(maps[part], maps["held"]) for part in PARTS} for maps in (chosen, flat))
        together = {part: local[part] + coarse[part] for part in PARTS}
        best = unit({part: largest_mean(local[part]) for part in PARTS})
        both = {part: torch.maximum(best[part], unit(norms)[part]) for part in PARTS}
        yield {**row(data, "border", name, together, both), **ious(data, together)}


def of_decoders(data: Set, _x: Maps, chosen: Maps) -> Rows:
    """What a decoder of features leaves, by itself and together with the mixture."""
    for name, maps, scores in decoded(data.features):
        yield row(data, "feature decoder: alone", name, maps, scores)
        yield from joined(data, "feature decoder", name, chosen, maps, scores)


def of_makers(data: Set, _x: Maps, chosen: Maps) -> Rows:
    """Mixture and factor model with the map of a C: trained on anomalies made on images, and on such made in z."""
    images, labels = zip(*synthetic_images(data.fitted, 0), strict=True)
    x = projected({**data.features, "trained": data.encode(np.stack(images))}, power=POWER, channels=CHANNELS)
    flat, _ = factors(x, pool=2, channels=32, explained=0.99)
    scaled = by_border()
    energy = unit({part: sum(scaled(maps[part], maps["held"]) for maps in (chosen, flat)) for part in PARTS})
    yield {**row(data, "makers", "no C", energy), **ious(data, energy)}
    shares = functional.adaptive_avg_pool2d(torch.from_numpy(np.stack(labels))[:, None], x["fit"].shape[2:])[:, 0]
    of_images, centres = (x["trained"], shares), centres_of(x)
    trained = {"on images": of_images}
    for name, makers in changes_of(*centres).items():
        trained[f"in z: {name}"] = made(x["fit"], makers, seed=0)
    both = zip(of_images, trained["in z: the three in turn"], strict=True)
    trained["on images and in z"] = tuple(torch.cat([one[::2], other[::2]]) for one, other in both)
    for name, examples in trained.items():
        maps = classified(x, energy, examples)
        yield {**row(data, "makers", name, maps), **ious(data, maps)}


def ious(data: Set, maps: Maps) -> dict[str, Any]:
    """IoU at what a tenth of the held-out normal images reach anywhere, and the best of one threshold."""
    pixels = {part: enlarged(smoothed(maps[part]), SIZE).numpy() for part in PARTS}
    rate = make_config("recommended").calibration.mask_false_alarm_rate
    threshold, _ = conformal_threshold(pixels["held"].max(axis=(1, 2)), rate)
    result = {}
    for part in ("made", "test"):
        histogram = PixelHistogram(threshold)
        for map_, mask in zip(pixels[part], data.masks[part], strict=True):
            histogram.update(map_, mask)
        oracle = histogram.oracle_iou()
        result |= {f"{part}_iou": rounded(histogram.iou()), f"{part}_iou_oracle": oracle and rounded(oracle[0])}
    return result


def joined(data: Set, what: str, name: str, chosen: Maps, maps: Maps, scores: Maps) -> Rows:
    """The mixture together with another model: the sums of both maps and scores, and the larger ones."""
    local = {part: largest_mean(chosen[part]) for part in PARTS}
    for how, rule in (("sum", torch.add), ("larger", torch.maximum)):
        together = {part: rule(unit(chosen)[part], unit(maps)[part]) for part in PARTS}
        both = {part: rule(unit(local)[part], unit(scores)[part]) for part in PARTS}
        yield row(data, f"{what}: with the mixture, {how}", name, together, both)


def top_share(maps: Tensor) -> Tensor:
    """The mean of the highest 1 % of the enlarged map."""
    return map_score(enlarged(maps, SIZE))


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "largest 3 x 3 mean": largest_mean,
    "largest cell": lambda maps: maps.flatten(1).amax(dim=1),
    "highest 1 %": top_share,
    "highest 1 % minus median": lambda maps: top_share(maps) - maps.flatten(1).median(dim=1).values,
    "standard deviation": lambda maps: maps.flatten(1).std(dim=1),
    "mean": lambda maps: maps.mean(dim=(1, 2)),
}


def row(data: Set, experiment: str, name: str, maps: Maps, scores: Maps | None = None) -> dict[str, Any]:
    """AUROCs of one setting, of images and of smoothed maps; None where there are no masks."""
    scores = scores or {part: largest_mean(maps[part]) for part in PARTS}
    good, bad = (scores["test"][torch.from_numpy(data.labels == label)] for label in (0, 1))
    result: dict[str, Any] = {"experiment": experiment, "setting": name}
    pairs = {"made_image": (scores["held"], scores["made"]), "test_image": (good, bad)}
    for key, (negative, positive) in pairs.items():
        labels = [0] * len(negative) + [1] * len(positive)
        result[key] = rounded(auroc(torch.cat([negative, positive]).numpy(), labels))
    for part in ("made", "test"):
        histogram = PixelHistogram()
        for pixels, mask in zip(enlarged(smoothed(maps[part]), SIZE).numpy(), data.masks[part], strict=True):
            histogram.update(pixels, mask)
        result[f"{part}_pixel"] = rounded(histogram.auroc())
    return result


EXPERIMENTS: dict[str, Callable[[Set, Maps, Maps], Rows]] = {
    "energy": of_energies, "mixture": of_mixtures, "latent": of_latents, "image score": of_rules,
    "factor model": of_factors, "border": of_borders, "feature decoder": of_decoders, "makers": of_makers,
}  # fmt: skip

if __name__ == "__main__":
    main()
