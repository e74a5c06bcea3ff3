"""The photographs of a set at the input size, and what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Size
from cavga.benchmark.textures import TEXTURES, texture_images
from cavga.config.presets import make_config
from cavga.config.schema import RunConfig
from cavga.data.catalog import load_catalog
from cavga.data.dataset import cache_images
from cavga.data.manifest import sha256_of
from cavga.data.records import NORMAL, ImageRecord
from cavga.images.decode import read_image_size
from cavga.images.resize import resized, true_mask_at
from cavga.training.inputs import gather_training_images
from studies.fold_thresholds import mask_of

PAPERS = "piped_paper"
SMALL, LARGE = 128, 256  # px of a paper or a texture, and of all else


@dataclass(frozen=True)
class Pixels:
    """uint8 RGB at the input size; `masks` are None where the set has none.

    `side` is that of a square of as many pixels as the median training photograph has.
    """

    name: str
    config: RunConfig
    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    is_bad: NDArray[np.bool_]
    masks: NDArray[np.bool_] | None
    side: float


def load_pixels(root: Path, name: str, weights: str, cache: Path, *, size: int | None = None) -> Pixels:
    """A set below `root`, one paper of PIPED (piped_paper/BTN01), or a texture of the demo (its name)."""
    size = size or (SMALL if name in TEXTURES or name.startswith(PAPERS) else LARGE)
    settings = {"variant": "r-s", "encoder": "resnet18", "weights": weights}
    config = make_config("recommended", {"model": settings, "data": {"image_size": (size, size)}})
    if name in TEXTURES:
        return _texture(name, config, size)
    folder, paper = (PAPERS, name.partition("/")[2]) if name.startswith(PAPERS) else (name, "")
    train = [r for r in gather_training_images(root / folder, config).train if r.path.name.startswith(paper)]
    test = [r for r in load_catalog(root / folder).split("test") if r.path.name.startswith(paper)]
    has_masks = any(record.mask_paths for record in test)
    masks = np.stack([mask_of(record, size) for record in test]) if has_masks else None
    is_bad = np.array([record.label != NORMAL for record in test])
    side = _side([read_image_size(record.path) for record in train])
    return Pixels(name, config, _read(train, size, cache), _read(test, size, cache), is_bad, masks, side)


def papers(root: Path) -> list[str]:
    """The papers of PIPED, as names of sets."""
    records = load_catalog(root / PAPERS).records
    return sorted({f"{PAPERS}/{record.path.name.partition('_')[0]}" for record in records})


def _read(records: Sequence[ImageRecord], size: int, cache: Path) -> NDArray[np.uint8]:
    return cache_images(records, [sha256_of(r.path) for r in records], size=(size, size), folder=cache)


def _texture(name: str, config: RunConfig, size: int) -> Pixels:
    images = list(texture_images(name))
    train = [image.pixels for image in images if image.path.split("/")[0] != "test"]
    tested = [image for image in images if image.path.split("/")[0] == "test"]
    masks = [np.zeros(i.pixels.shape[:2], dtype=np.bool_) if i.mask is None else i.mask > 0 for i in tested]
    at_size = np.stack([true_mask_at(mask, (size, size)) for mask in masks])
    is_bad = np.array([image.mask is not None for image in tested])
    seen, test = (np.stack([_rgb(one, size) for one in some]) for some in (train, [i.pixels for i in tested]))
    return Pixels(name, config, seen, test, is_bad, at_size, _side([one.shape[:2] for one in train]))


def _rgb(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    in_colour = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    return resized(in_colour, (size, size))


def _side(sizes: Sequence[Size]) -> float:
    return float(np.sqrt(np.median([height * width for height, width in sizes])))
