"""What comes of a threshold from folds: what measures the photographs that a fold leaves out, and in which units.

python -m studies.fold_thresholds ROOT RESNET18_WEIGHTS CACHE
    [--encoders A,B] [--datasets A,B] [--size 256] [--seeds 0,1] [--own] [--draws N]

r-u, frozen encoder, ImageNet weights. Encoder, latent and prior are the same in all ways: only what measures the left
out photographs differs, and so scales and thresholds do. With --draws N nothing anomalous is looked at: the normal
photographs of training and test are put together, as many as there were to train on are drawn N times (a draw's number
is its seed), and the others say how many false alarms come of it. CACHE keeps resized photographs and energies. Writes
benchmarks/results/fold_thresholds.jsonl; rows of other encoders, sets, sizes and seeds that it holds stay.
"""

import argparse
import functools
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from benchmarks.result_files import FOLDER, read_result, write_result
from cavga.calibration.rules import conformal_threshold
from cavga.config.presets import make_config
from cavga.config.schema import RunConfig
from cavga.data.catalog import load_catalog
from cavga.data.dataset import cache_images, image_batches
from cavga.data.manifest import sha256_of
from cavga.data.records import NORMAL, ImageRecord, folds, unit_numbers
from cavga.inference.graph import enlarged
from cavga.metrics.image import auroc
from cavga.metrics.pixel import PixelHistogram
from cavga.model.build import build
from cavga.model.latent import LatentHead
from cavga.model.pretrained import load_encoder_weights
from cavga.model.prior import AggregatedPrior, Energies, largest_mean
from cavga.shapes import FeatureMap, LatentMap
from cavga.training.factor_model import LeaveOutFactors, factors
from cavga.training.fit import NUM_FOLDS
from cavga.training.fit_latent import Whitening, whitening_of
from cavga.training.fit_prior import (
    NUM_LEAVE_OUTS,
    all_flattened,
    energies_by,
    fitted_prior,
    leave_outs,
    measure_fold,
)
from cavga.training.inputs import gather_training_images
from studies.rows import mask_at, rounded

RESULT = "fold_thresholds"
SETS = ("magnetic_tile", "mvtec_ad/screw", "mvtec_loco/juice_bottle", "elpv_mono", "piped_paper")
PAPERS = "piped_paper"
ENCODERS = ("resnet18", "efficientnet_lite0")
RATES = (0.05, 0.01)
# What measures: of which latent and how many leave-outs of the factor model. The mixture always leaves out a fifth.
TEST = "test"
SHARED_5, SHARED_20, OWN_5, OWN_20 = "shared, 5", "shared, 20", "own, 5", "own, 20"
# A way's name, what its scales come from and what its thresholds come from.
WAYS = (
    ("one whitening, factor model in 5 folds", SHARED_5, SHARED_5),
    ("one whitening, factor model in 20", SHARED_20, SHARED_20),
    ("one whitening, factor model in 20, scales of 5", SHARED_5, SHARED_20),
    ("whitening per fold, factor model in 20", OWN_20, OWN_20),
    ("whitening per fold, factor model in 20, scales of 5", OWN_5, OWN_20),
)
CPU = torch.device("cpu")
Row = dict[str, Any]


@dataclass(frozen=True)
class Set:
    """Photographs, merged features of some of them in half precision, and masks, None where there are none."""

    name: str
    config: RunConfig
    features_of: Callable[[NDArray[np.intp]], FeatureMap]
    records: Sequence[ImageRecord]
    is_train: NDArray[np.bool_]
    masks: NDArray[np.bool_] | None

    @property
    def is_normal(self) -> NDArray[np.bool_]:
        return np.array([record.label == NORMAL for record in self.records])


def main() -> None:
    """What is asked for, one set after another; the file is written after every row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("resnet18")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--encoders", default=",".join(ENCODERS))
    parser.add_argument("--datasets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--size", type=int, default=256, help="pixels; papers have 128")
    parser.add_argument("--draws", type=int, default=0, help="draws of normal photographs instead")
    parser.add_argument("--own", action="store_true", help="whitening per fold too, at twice the time")
    args = parser.parse_args()
    for encoder in args.encoders.split(","):
        weights = args.resnet18 if encoder == "resnet18" else "imagenet"
        for name in args.datasets.split(","):
            size = 128 if name == PAPERS else args.size
            for data in load_sets(args.root, name, args.cache, (encoder, weights), size):
                if args.draws:
                    keep("drawn", drawn(data, args.draws))
                for seed in () if args.draws else map(int, args.seeds.split(",")):
                    keep("tested", tested(data, seed, args.cache, with_own=args.own))


def keep(part: str, rows: Sequence[Row]) -> None:
    """Put rows among those of the file, in place of earlier ones of the same name."""
    content = read_result(RESULT) if (FOLDER / f"{RESULT}.jsonl").is_file() else {}
    found = {name_of(row): row for row in [*content.get(part, ()), *rows]}
    content[part] = [found[name] for name in sorted(found)]
    parts = {key: content.get(key, []) for key in ("tested", "drawn")}
    write_result(RESULT, {"table": RESULT, "machine": platform.machine(), **parts})
    print(json.dumps(rows[0]), flush=True)


def name_of(row: Row) -> tuple[Any, ...]:
    """What tells a row from the others, in the order of the file."""
    way = [name for name, _, _ in WAYS].index(row["way"])
    return (row["encoder"], row["data"], row["size"], row.get("seed", 0), way)


def load_sets(root: Path, name: str, cache: Path, encoder: tuple[str, str], size: int) -> Iterator[Set]:
    """A set, or each of the papers, with features."""
    model_settings = {"variant": "r-u", "encoder": encoder[0], "weights": encoder[1]}
    config = make_config("recommended", {"model": model_settings, "data": {"image_size": (size, size)}})
    train = gather_training_images(root / name, config).train
    records = [*train, *load_catalog(root / name).split("test")]
    pixels = cache_images(records, [sha256_of(r.path) for r in records], size=(size, size), folder=cache)
    features = functools.cache(partial(merged_features, pixels, config))  # of no use where energies are known
    is_train = np.arange(len(records)) < len(train)
    has_masks = any(record.mask_paths for record in records)
    masks = np.stack([mask_of(record, size) for record in records]) if has_masks else None
    papers = [record.path.name.partition("_")[0] if name == PAPERS else "" for record in records]
    for paper in dict.fromkeys(papers):
        chosen = np.flatnonzero(np.array(papers) == paper)
        yield Set(
            f"{name}/{paper}".removesuffix("/"), config, partial(_some, features, chosen),
            [records[i] for i in chosen], is_train[chosen], None if masks is None else masks[chosen],
        )  # fmt: skip


def _some(features: Callable[[], FeatureMap], among: NDArray[np.intp], chosen: NDArray[np.intp]) -> FeatureMap:
    return features()[torch.from_numpy(among[chosen])]


def mask_of(record: ImageRecord, size: int) -> NDArray[np.bool_]:
    """The mask at the input size; empty for a good photograph."""
    return mask_at(record, size) if record.mask_paths else np.zeros((size, size), dtype=np.bool_)


@torch.no_grad()
def merged_features(pixels: NDArray[np.uint8], config: RunConfig) -> FeatureMap:
    """What the latent is a projection of."""
    model = build(config.model, image_size=config.data.image_size)
    load_encoder_weights(model.encoder, config.model.weights or "none")
    model.eval()
    head = model.mu_head
    assert isinstance(head, LatentHead)
    return torch.cat([head.merged(model.encode_stages(batch)).half() for batch in image_batches(pixels, CPU)])


def tested(data: Set, seed: int, cache: Path, *, with_own: bool) -> list[Row]:
    """Of every way the figures of the test photographs, and what a threshold at the true rate would find."""
    train, test = np.flatnonzero(data.is_train), np.flatnonzero(~data.is_train)
    size = data.config.data.image_size
    path = cache / f"energies-{data.config.model.encoder}-{data.name.replace('/', '-')}-{size[0]}-{seed}.safetensors"
    if not path.is_file():
        save_file(as_tensors(measured(data, train, test, seed, with_own=with_own)), path)
    found = from_tensors(load_file(path))
    numbers, is_bad = units_of(data, train), ~data.is_normal[test]
    counts = {"num_train": len(train), "num_good": int((~is_bad).sum()), "num_bad": int(is_bad.sum())}
    names = {"encoder": data.config.model.encoder, "data": data.name, "size": size[0], "seed": seed}
    rows = []
    for way, scales_from, thresholds_from in WAYS:
        if thresholds_from not in found:
            continue
        prior = scaled(found[scales_from])
        held, scores = (prior.joined(found[key])[1].numpy() for key in (thresholds_from, TEST))
        row: Row = {**names, "way": way, **counts, "image_auroc": rounded(auroc(scores, is_bad.astype(int)))}
        row |= shifts(found[thresholds_from], found[TEST].of(torch.from_numpy(np.flatnonzero(~is_bad))))
        for rate in RATES:
            threshold, _ = conformal_threshold(held, rate, numbers)
            best = highest_allowed(scores[~is_bad], rate)
            row[f"recall_{rate}"] = rounded(float((scores[is_bad] >= threshold).mean()))
            row[f"realised_{rate}"] = rounded(float((scores[~is_bad] >= threshold).mean()))
            row[f"recall_at_true_{rate}"] = rounded(float((scores[is_bad] >= best).mean()))
        maps = (maps_of(prior, found[key], size) for key in (thresholds_from, TEST))
        rows.append(row | of_masks(data, test, *maps, numbers))
    return rows


def shifts(held: Energies, good: Energies) -> Row:
    """How much higher both scores of left out photographs are than those of good ones, in deviations of the latter."""
    pairs = {
        "local": (largest_mean(held.local), largest_mean(good.local)),
        "flat": (held.flat_score, good.flat_score),
    }
    return {f"{name}_shift": rounded(float((a.mean() - b.mean()) / b.std())) for name, (a, b) in pairs.items()}


def of_masks(
    data: Set, test: NDArray[np.intp], held: NDArray[np.float32], maps: NDArray[np.float32], numbers: NDArray[np.intp]
) -> Row:
    """How many good test photographs have anything in their mask, and figures of pixels where there are masks."""
    cut, _ = conformal_threshold(held.max(axis=(1, 2)), data.config.calibration.mask_false_alarm_rate, numbers)
    good = maps[data.is_normal[test]]
    row: Row = {"mask_realised": rounded(float((good.max(axis=(1, 2)) >= cut).mean()))}
    if data.masks is None:
        return row
    histogram = PixelHistogram(cut)
    for pixels, mask in zip(maps, data.masks[test], strict=True):
        histogram.update(pixels, mask)
    return row | {f"pixel_{name}": rounded(value) for name, value in histogram.metrics().items()}


def highest_allowed(normal: NDArray[np.float32], rate: float) -> float:
    """The lowest threshold that at most that share of these photographs reach."""
    in_order = np.sort(normal)
    return float(np.nextafter(in_order[len(normal) - 1 - int(rate * len(normal))], np.float32(np.inf)))


def drawn(data: Set, num_draws: int) -> list[Row]:
    """Of every way, over draws of normal photographs: how many of the others reach the threshold."""
    normal = np.flatnonzero(data.is_normal)
    groups = units_of(data, normal)
    share = data.is_train.sum() / len(normal)
    reached: dict[tuple[str, float], list[float]] = {}
    for draw in range(num_draws):
        order = np.random.default_rng(draw).permutation(np.unique(groups))
        is_train = np.isin(groups, order[: round(share * len(order))])
        found = measured(data, normal[is_train], normal[~is_train], draw, with_own=True)
        for way, scales_from, thresholds_from in WAYS:
            prior = scaled(found[scales_from])
            held, scores = (prior.joined(found[key])[1].numpy() for key in (thresholds_from, TEST))
            for rate in RATES:
                threshold, _ = conformal_threshold(held, rate, groups[is_train])
                reached.setdefault((way, rate), []).append(float((scores >= threshold).mean()))
    names = {"encoder": data.config.model.encoder, "data": data.name, "size": data.config.data.image_size[0]}
    counts = {"num_draws": num_draws, "num_train": int(is_train.sum()), "num_left": int((~is_train).sum())}
    return [
        {
            **{**names, "way": way, **counts},
            **{f"realised_{rate}": rounded(float(np.mean(reached[way, rate]))) for rate in RATES},
            **{f"std_{rate}": rounded(float(np.std(reached[way, rate]))) for rate in RATES},
        }
        for way, _, _ in WAYS
    ]


def scaled(normal: Energies) -> AggregatedPrior:
    """A prior that has scales alone: `joined` is all that is asked of it."""
    size = (normal.local.shape[1], normal.local.shape[2])
    prior = AggregatedPrior(num_centres=1, num_directions=1, latent_channels=1, map_size=size)
    prior.set_scales(normal)
    return prior


def maps_of(prior: AggregatedPrior, energies: Energies, size: tuple[int, int]) -> NDArray[np.float32]:
    """Maps at the input size."""
    return np.concatenate([enlarged(some, size).numpy() for some in prior.joined(energies)[0].split(32)])


@torch.no_grad()
def measured(
    data: Set, train: NDArray[np.intp], test: NDArray[np.intp], seed: int, *, with_own: bool
) -> dict[str, Energies]:
    """Energies of the left-out training photographs, by what measures them, and of the test's by the finished prior."""
    numbers = units_of(data, train)
    parts = [np.array(part) for part in folds([data.records[i] for i in train], num_folds=NUM_FOLDS, seed=seed)]
    features = data.features_of(train)
    every = whitening(data, features)
    z = whitened(features, every)
    prior = fitted_prior(z, factors(all_flattened(z)), seed)
    found: dict[str, list[Energies]] = {SHARED_5: [], SHARED_20: [], OWN_5: [], OWN_20: []}
    models = LeaveOutFactors(all_flattened(z))
    for part in parts:
        groups = leave_outs(numbers[part], NUM_LEAVE_OUTS // len(parts), seed)
        pairs = [(z, models, SHARED_5, SHARED_20)]
        if with_own:
            is_other = torch.isin(torch.arange(len(z)), torch.from_numpy(part), invert=True)
            own = whitened(features, whitening(data, features[is_other]))
            pairs.append((own, LeaveOutFactors(all_flattened(own)), OWN_5, OWN_20))
        for latent, factor_models, five, twenty in pairs:
            of_five, of_twenty = of_fold(latent, factor_models, part, groups, seed)
            found[five].append(of_five)
            found[twenty].append(of_twenty)
    order = torch.from_numpy(np.concatenate(parts).argsort())
    tested = energies_by(prior, whitened(data.features_of(test), every))
    return {TEST: tested} | {key: Energies.joined(some).of(order) for key, some in found.items() if some}


def of_fold(
    z: LatentMap, models: LeaveOutFactors, part: NDArray[np.intp], groups: Sequence[NDArray[np.intp]], seed: int
) -> tuple[Energies, Energies]:
    """The energies of a fold: by a factor model that leaves out all of it, and by one for each of the groups."""

    def is_in(positions: NDArray[np.intp]) -> Tensor:
        return torch.isin(torch.arange(len(z)), torch.from_numpy(positions))

    held, without = z[torch.from_numpy(part)], [models.without(is_in(part[group])) for group in groups]
    of_twenty = measure_fold(z[~is_in(part)], without, held, groups, seed=seed)
    prior = scaled(of_twenty)  # its mixture is not looked at
    prior.flat_mean, prior.flat_basis = models.without(is_in(part))
    residual = torch.cat([prior.flat_residual(some.float()) for some in held.split(32)])
    size = (held.shape[2], held.shape[3])
    flat = functional.interpolate(residual.square().mean(dim=1).sqrt()[:, None], size=size, mode="bilinear")[:, 0]
    return Energies(of_twenty.local, flat, residual.flatten(1).norm(dim=1)), of_twenty


def whitening(data: Set, features: FeatureMap) -> Whitening:
    """The whitening of some photographs, as `cavga.training.fit_latent` sets it."""
    settings = data.config.model
    assert settings.whitening is not None
    batches = (some.float() for some in features.split(32))
    return whitening_of(
        batches, power=settings.whitening, spectrum=settings.spectrum, max_channels=settings.latent_channels
    )


def whitened(features: FeatureMap, by: Whitening) -> LatentMap:
    """Z of photographs, in half precision."""
    matrix = by.matrix[:, :, None, None]
    return torch.cat([functional.conv2d(some.float(), matrix, by.bias).half() for some in features.split(32)])


def units_of(data: Set, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which unit each of some photographs is of: copies are one."""
    return np.array(unit_numbers([data.records[i] for i in chosen]))


def as_tensors(found: dict[str, Energies]) -> dict[str, Tensor]:
    """As a file holds them."""
    return {
        f"{key}/{name}": value.contiguous() for key, energies in found.items() for name, value in vars(energies).items()
    }


def from_tensors(tensors: dict[str, Tensor]) -> dict[str, Energies]:
    """The inverse of `as_tensors`."""
    keys = dict.fromkeys(name.partition("/")[0] for name in tensors)
    return {key: Energies(*(tensors[f"{key}/{name}"] for name in ("local", "flat", "flat_score"))) for key in keys}


if __name__ == "__main__":
    main()
