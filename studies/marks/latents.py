"""What the study of marks reads of a set, once: z, pooled features, and energies by priors that had not seen the image.

Anomalies are made on the training images, of the self-test's kinds: settings are chosen on those, and on the demo's
textures. Each is measured, as the image that it was made on is, by a prior that lacks that image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from cavga.benchmark.textures import TEXTURES, texture_images
from cavga.config.presets import make_config
from cavga.config.schema import RunConfig
from cavga.data.catalog import load_catalog
from cavga.data.dataset import cache_images, image_batches
from cavga.data.manifest import sha256_of
from cavga.data.records import NORMAL, ImageRecord, folds, unit_numbers
from cavga.images.resize import resized
from cavga.model.cavga import Cavga
from cavga.model.latent import LatentHead
from cavga.model.prior import Energies
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, SIZES, synthesise_controlled_anomaly
from cavga.training.factor_model import LeaveOutFactors, factors
from cavga.training.fit import NUM_FOLDS
from cavga.training.fit_prior import NUM_LEAVE_OUTS, all_flattened, energies_by, fitted_prior, leave_outs, measure_fold
from cavga.training.inputs import gather_training_images
from studies.fitted import fitted_model

CPU = torch.device("cpu")
MAX_MADE = 400  # anomalies of a set
SEEN_SIZES, SEEN_CONTRASTS = SIZES[1:], CONTRASTS[1:]  # a person marks what she sees
PAPERS = "piped_paper"
SEED = 0


@dataclass(frozen=True)
class Images:
    """Photographs of one part of a set: z in half precision, pooled features of the encoder, and their energies."""

    z: Float[Tensor, "images latent rows columns"]
    pooled: Float[Tensor, "images features"]
    energies: Energies


@dataclass(frozen=True)
class MarkedSet:
    """A set as the study reads it; `kinds` of test and made images count from 1, 0 is a good one."""

    name: str
    train: Images
    made: Images
    test: Images
    fold: Int[Tensor, " train"]
    unit: Int[Tensor, " train"]
    source: Int[Tensor, " made"]
    made_kinds: Int[Tensor, " made"]
    test_kinds: Int[Tensor, " test"]

    @property
    def is_bad(self) -> Bool[Tensor, " test"]:
        """Which of the test images are bad."""
        return self.test_kinds > 0


@dataclass(frozen=True)
class Pixels:
    """Photographs at the input size, and which fold, unit and kind each is of."""

    config: RunConfig
    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    fold: NDArray[np.intp]
    unit: NDArray[np.intp]
    test_kinds: NDArray[np.intp]


def load_set(root: Path, name: str, weights: str, cache: Path, *, size: int) -> MarkedSet:
    """A set below `root`, one paper of PIPED (piped_paper/BTN01) or a texture of the demo, kept in `cache`."""
    path = cache / f"marks-{name.replace('/', '-')}-{size}.safetensors"
    if not path.is_file():
        save_file(_measured(load_pixels(root, name, weights, cache, size)), path)
    found = load_file(path)
    parts = {part: _images(found, part) for part in ("train", "made", "test")}
    return MarkedSet(name, **parts, **{key: value for key, value in found.items() if "/" not in key})


def _images(found: dict[str, Tensor], part: str) -> Images:
    energies = Energies(*(found[f"{part}/{name}"] for name in ("local", "flat", "flat_score")))
    return Images(found[f"{part}/z"], found[f"{part}/pooled"], energies)


@torch.no_grad()
def _measured(pixels: Pixels) -> dict[str, Tensor]:
    model = fitted_model(pixels.config, pixels.train)
    made, source, kinds = _made(pixels.train)
    read = {
        part: encoded(model, some) for part, some in (("train", pixels.train), ("made", made), ("test", pixels.test))
    }
    z = read["train"][0]
    train, of_made = _cross_fitted(z, read["made"][0], pixels, source)
    test = energies_by(fitted_prior(z, factors(all_flattened(z)), SEED), read["test"][0])
    found = {
        "fold": pixels.fold, "unit": pixels.unit, "source": source, "made_kinds": kinds, "test_kinds": pixels.test_kinds
    }  # fmt: skip
    tensors = {key: torch.from_numpy(value) for key, value in found.items()}
    for part, energies in (("train", train), ("made", of_made), ("test", test)):
        tensors |= {f"{part}/z": read[part][0], f"{part}/pooled": read[part][1]}
        tensors |= {f"{part}/{name}": value.contiguous() for name, value in vars(energies).items()}
    return tensors


@torch.no_grad()
def encoded(model: Cavga, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Z in half precision, and the mean of every merged feature over the image."""
    head = model.mu_head
    assert isinstance(head, LatentHead)
    z, pooled = [], []
    for batch in image_batches(images, CPU):
        stages = model.encode_stages(batch)
        z.append(head(stages).half())
        pooled.append(torch.cat([stage.mean(dim=(2, 3)) for stage in stages], dim=1))
    return torch.cat(z), torch.cat(pooled)


def _cross_fitted(z: Tensor, z_made: Tensor, pixels: Pixels, source: NDArray[np.intp]) -> tuple[Energies, Energies]:
    """Energies of the training images and of the made ones, by mixture and factor model without the image."""
    models = LeaveOutFactors(all_flattened(z))
    measured, positions = [], []
    numbers = np.concatenate([np.arange(len(z)), source])
    both = torch.cat([z, z_made])
    for part in range(NUM_FOLDS):
        held = np.flatnonzero(pixels.fold[numbers] == part)
        groups = leave_outs(pixels.unit[numbers[held]], NUM_LEAVE_OUTS // NUM_FOLDS, SEED)
        left_out = [torch.from_numpy(np.isin(np.arange(len(z)), numbers[held[group]])) for group in groups]
        others = z[torch.from_numpy(pixels.fold != part)]
        without = [models.without(some) for some in left_out]
        measured.append(measure_fold(others, without, both[torch.from_numpy(held)], groups, seed=SEED))
        positions.append(held)
    order = torch.from_numpy(np.concatenate(positions).argsort())
    found = Energies.joined(measured).of(order)
    return found.of(slice(None, len(z))), found.of(slice(len(z), None))


def _made(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.intp]]:
    """Images with an anomaly, which image each was made on, and the kind, from 1."""
    found, source, kinds = [], [], []
    for number in range(min(MAX_MADE, 4 * len(images))):
        rng = np.random.default_rng([SEED, number, 1])
        kind, size, contrast = (
            int(rng.integers(len(CONTROLLED_NAMES))),
            rng.choice(SEEN_SIZES),
            rng.choice(SEEN_CONTRASTS),
        )
        image = np.asarray(images[number % len(images)])
        made = synthesise_controlled_anomaly(
            image, CONTROLLED_NAMES[kind], size=float(size), contrast=float(contrast), rng=rng
        )
        if made is not None:
            found.append(made[0])
            source.append(number % len(images))
            kinds.append(kind + 1)
    return np.stack(found), np.array(source), np.array(kinds)


def load_pixels(root: Path, name: str, weights: str, cache: Path, size: int) -> Pixels:
    """The photographs of a set, as `load_set` names it."""
    settings = {"variant": "r-u", "encoder": "resnet18", "weights": weights}
    config = make_config("recommended", {"model": settings, "data": {"image_size": (size, size)}})
    if name in TEXTURES:
        return _texture(name, config, size)
    folder, paper = (PAPERS, name.partition("/")[2]) if name.startswith(PAPERS) else (name, "")
    train = [r for r in gather_training_images(root / folder, config).train if r.path.name.startswith(paper)]
    test = [r for r in load_catalog(root / folder).split("test") if r.path.name.startswith(paper)]
    pixels = [
        cache_images(some, [sha256_of(r.path) for r in some], size=(size, size), folder=cache) for some in (train, test)
    ]
    fold = _fold_numbers(folds(train, num_folds=NUM_FOLDS, seed=SEED), len(train))
    return Pixels(config, pixels[0], pixels[1], fold, np.array(unit_numbers(train)), _kinds_of(test))


def _kinds_of(records: Sequence[ImageRecord]) -> NDArray[np.intp]:
    types = sorted({record.defect_type or "" for record in records if record.label != NORMAL})
    return np.array([0 if r.label == NORMAL else 1 + types.index(r.defect_type or "") for r in records])


def _fold_numbers(parts: Sequence[Sequence[int]], number: int) -> NDArray[np.intp]:
    fold = np.zeros(number, dtype=np.intp)
    for k, part in enumerate(parts):
        fold[np.array(part, dtype=np.intp)] = k
    return fold


def _texture(name: str, config: RunConfig, size: int) -> Pixels:
    images = list(texture_images(name))
    split = [image.path.split("/") for image in images]
    pixels = np.stack([resized(np.repeat(i.pixels[..., None], 3, axis=2), (size, size)) for i in images])
    is_test = np.array([parts[0] == "test" for parts in split])
    types = sorted({parts[1] for parts in split if parts[0] == "test" and parts[1] != "good"})
    kinds = np.array([1 + types.index(parts[1]) if parts[1] in types else 0 for parts in split])
    number = int((~is_test).sum())
    order = np.random.default_rng(SEED).permutation(number)
    fold = _fold_numbers([part.tolist() for part in np.array_split(order, NUM_FOLDS)], number)
    return Pixels(config, pixels[~is_test], pixels[is_test], fold, np.arange(number), kinds[is_test])
