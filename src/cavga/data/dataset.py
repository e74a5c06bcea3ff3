"""Records -> arrays and batches: the cache of resized training images, order and augmentation.

Order and augmentation are functions of (seed, epoch, index), never of what ran before, so that a
resumed run repeats an undisturbed one.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.atomic_files import atomic_writer
from cavga.config.schema import TrainingConfig
from cavga.data.copies import read_as_hashed
from cavga.data.records import ImageRecord
from cavga.errors import DataError
from cavga.images.decode import BATCH_SIZE, NUM_DECODE_THREADS
from cavga.images.pixel_range import FULL_DEPTH
from cavga.images.prefetch import prefetch
from cavga.images.resize import resized
from cavga.images.tiling import Tiling
from cavga.images.torch_resize import as_images
from cavga.progress import SILENT, Progress, counted
from cavga.shapes import Images

MAX_TILES = 1500  # that what holds its images in memory looks at: from there on more of a surface adds little


def cache_images(
    records: Sequence[ImageRecord],
    hashes: Sequence[str],
    *,
    size: tuple[int, int],
    folder: Path,
    tiling: Tiling | None = None,
    num_tiles: Sequence[int] = (),
    progress: Progress = SILENT,
) -> NDArray[np.uint8]:
    """All images decoded and resized, as a memory-mapped (num_images, height, width, 3) array in `folder`.

    With a tiling that is not plain the tiles of every photograph one after the other, so many of each as `num_tiles`
    says. An array of the same images and size is reused. Raises DataError on an image that cannot be read, or whose
    content is not that of `hashes` any more.
    """
    tiling = tiling or Tiling(size)
    counts = [1] * len(records) if tiling.is_plain else list(num_tiles)
    asked_for: tuple[object, ...] = (list(hashes), size)
    asked_for += () if tiling.is_plain else (tiling.identity(),)
    asked_for += () if tiling.pixel_range.bit_depth == FULL_DEPTH else (tiling.pixel_range.bit_depth,)
    key = hashlib.sha256(repr(asked_for).encode()).hexdigest()[:16]
    path = folder / f"images-{key}.npy"
    if not path.is_file():
        progress.begin("resizing", len(records), "photographs")
        known = list(zip(records, hashes, strict=True))
        tiles_of = prefetch(known, partial(_decode, tiling=tiling), most=NUM_DECODE_THREADS)
        # Written, not mapped: a map has room on the disk only once it is filled, and where there is none the process
        # dies of SIGBUS.
        with atomic_writer(path) as file:
            header = np.lib.format.header_data_from_array_1_0(np.empty((0, *size, 3), dtype=np.uint8))
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (sum(counts), *size, 3)})
            for count, tiles in zip(counts, counted(tiles_of, progress), strict=True):
                assert tiles.shape == (count, *size, 3)
                file.write(tiles.tobytes())
    return np.load(path, mmap_mode="r")


@dataclass(frozen=True)
class TrainingImages:
    """The cache of `cache_images`: `num_normal` normal images first, then the labelled anomalous ones."""

    images: NDArray[np.uint8]
    num_normal: int
    photographs: NDArray[np.intp] | None = None
    """Which photograph each normal image is a tile of, counted from 0, in order; None: each is a photograph."""
    units: NDArray[np.intp] | None = None
    """Which unit each normal image is of, counted from 0: copies are one, and tiles; None: each photograph is one."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def normal(self) -> NDArray[np.uint8]:
        return self.images[: self.num_normal]

    @property
    def anomalous(self) -> NDArray[np.uint8]:
        return self.images[self.num_normal :]

    @property
    def labels(self) -> NDArray[np.int64]:
        """0 for normal, 1 for anomalous images."""
        return (np.arange(len(self)) >= self.num_normal).astype(np.int64)

    @property
    def photograph_of(self) -> NDArray[np.intp]:
        """As `photographs`, of photographs that are not cut too."""
        return np.arange(self.num_normal) if self.photographs is None else self.photographs

    @property
    def unit_of(self) -> NDArray[np.intp]:
        """As `units`, where each photograph is one too."""
        return self.photograph_of if self.units is None else self.units

    @property
    def num_photographs(self) -> int:
        return int(self.photograph_of[-1]) + 1

    def tiles_of(self, parts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Positions of the normal images that belong to the photographs of each part."""
        return [np.flatnonzero(np.isin(self.photograph_of, part)).tolist() for part in parts]

    def tiles_of_some_photographs(self, *, most: int, seed: int) -> NDArray[np.intp]:
        """Positions of all tiles of some photographs, about `most` tiles in all: all photographs, if they are fewer."""
        order = np.random.default_rng(seed).permutation(self.num_photographs)
        counts = np.bincount(self.photograph_of)[order].cumsum()
        return np.flatnonzero(np.isin(self.photograph_of, order[: 1 + int(np.searchsorted(counts, most))]))

    def normal_in_memory(self, is_wanted: NDArray[np.bool_] | None = None, *, seed: int) -> NDArray[np.uint8]:
        """The normal images that are wanted (all by default); of tiles at most MAX_TILES, from everywhere."""
        if self.photographs is None:
            return self.normal if is_wanted is None else self.normal[is_wanted]
        wanted = np.arange(self.num_normal) if is_wanted is None else np.flatnonzero(is_wanted)
        return self.normal[np.random.default_rng(seed).permutation(wanted)[:MAX_TILES]]

    def class_weights(self, balance: str) -> tuple[float, float]:
        """What L_bce multiplies normal and anomalous images with: "weighted" gives each class half of it."""
        num_anomalous = len(self) - self.num_normal
        if balance == "plain" or not num_anomalous:
            return 1.0, 1.0
        return len(self) / (2 * self.num_normal), len(self) / (2 * num_anomalous)


def image_batch(images: NDArray[np.uint8], indices: NDArray[np.intp], device: torch.device) -> Images:
    """The images at `indices` as a float batch in [0, 1] on `device`."""
    return as_images(torch.from_numpy(np.ascontiguousarray(images[indices])).to(device))


def image_batches(images: NDArray[np.uint8], device: torch.device) -> Iterator[Images]:
    """All images in their order, BATCH_SIZE at a time, as `image_batch` gives them."""
    for start in range(0, len(images), BATCH_SIZE):
        yield image_batch(images, np.arange(start, min(start + BATCH_SIZE, len(images))), device)


def epoch_order(num_images: int, *, batch_size: int, seed: int, epoch: int) -> Iterator[NDArray[np.intp]]:
    """Index batches of one epoch. A batch of one is given twice: batch norm needs two of a kind."""
    order = np.random.default_rng([seed, epoch]).permutation(num_images)
    for start in range(0, num_images, batch_size):
        batch = order[start : start + batch_size]
        yield np.repeat(batch, 2) if len(batch) == 1 else batch


def epoch_batches(
    num_images: int, settings: TrainingConfig, epoch: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Index batches of one epoch, and in which pass over all images each image is seen, counted from 0.

    An epoch is one pass, cut by `epoch_order`; with `steps_per_epoch` passes follow one another and are cut into full
    batches, so that few images are trained on for as many steps as many.
    """
    seed, size, num_steps = settings.seed, settings.batch_size, settings.steps_per_epoch
    if num_steps is None:
        for indices in epoch_order(num_images, batch_size=size, seed=seed, epoch=epoch):
            yield indices, np.full(len(indices), epoch)
        return
    for step in range(epoch * num_steps, (epoch + 1) * num_steps):
        passes, places = np.divmod(np.arange(step * size, (step + 1) * size), num_images)
        orders = {number: np.random.default_rng([seed, number]).permutation(num_images) for number in set(passes)}
        indices = np.array([orders[number][place] for number, place in zip(passes, places, strict=True)])
        yield (np.repeat(indices, 2), np.repeat(passes, 2)) if size == 1 else (indices, passes)


def augment(images: Images, indices: NDArray[np.intp], *, seed: int, epoch: int | NDArray[np.intp]) -> Images:
    """Random flips and, on square images, quarter turns; `epoch` may be one for each image."""
    is_square = images.shape[2] == images.shape[3]
    epochs = np.broadcast_to(epoch, indices.shape)
    return torch.stack(
        [
            _turn(image, np.random.default_rng([seed, int(number), int(index)]), is_square)
            for image, index, number in zip(images, indices, epochs, strict=True)
        ]
    )


def _turn(image: torch.Tensor, rng: np.random.Generator, is_square: bool) -> torch.Tensor:
    flip_rows, flip_columns = (bool(bit) for bit in rng.integers(0, 2, size=2))
    quarter_turns = int(rng.integers(0, 4)) if is_square else 0
    axes = [axis for axis, is_flipped in ((1, flip_rows), (2, flip_columns)) if is_flipped]
    return torch.rot90(image.flip(axes), quarter_turns, dims=(1, 2))


def _decode(known: tuple[ImageRecord, str], tiling: Tiling) -> NDArray[np.uint8]:
    record, sha256 = known
    try:
        photograph = read_as_hashed(record.path, sha256, tiling.pixel_range)
        return np.stack([resized(tile, tiling.image_size) for tile in tiling.tiles(photograph)])
    except MemoryError:
        raise DataError(
            f"{record.path}: takes more memory than there is; skip_bad (--skip-bad) trains without it"
        ) from None
    except DataError as error:
        raise DataError(f"{error}; skip_bad (--skip-bad) trains without it") from None
