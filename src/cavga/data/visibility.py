"""How small a defect a map shows of a data set's photographs, and which of its masks are of smaller ones. No torch."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cavga.arrays import Size
from cavga.config.schema import MAX_IMAGE_SIZE, SIZE_STEP, SMALLEST_TILE, DataConfig, ModelConfig
from cavga.data.records import NORMAL, Catalog, ImageRecord
from cavga.errors import DataError
from cavga.images.decode import read_image_size
from cavga.images.input_size import LEAST_SIDE, MOST_SIDE, mixed_shapes, seen_size, settled_size
from cavga.images.masks import read_mask
from cavga.images.regions import largest_region
from cavga.threads import thread_pool

# Defects smaller than a patch are advised about where they are more than this share of those that masks show; what is
# advised leaves no more.
SMALL_SHARE = 0.1


@dataclass(frozen=True)
class Visibility:
    """What a map shows of a data set's photographs at one input size."""

    input_size: Size
    smallest_defect: float
    """As `smallest_visible_defect`, in pixels of a photograph."""
    mixed: str | None
    """What `mixed_shapes` says of the photographs that settle the input size."""
    num_masked: int
    """Photographs whose mask marks something."""
    num_smaller: int
    """Those of them whose largest marked region is smaller than a patch."""
    advice: str | None
    """The flag and value with which at least nine in ten are as large as a patch; None where that is so already."""

    def lines(self) -> list[str]:
        """What a person is told."""
        height, width = self.input_size
        lines = [
            f"input: {height} x {width} pixels, height x width",
            f"a patch of the map covers {self.smallest_defect:.0f} px of these photographs: a defect much smaller will "
            "not show",
        ]
        if self.advice is not None:
            lines.append(
                f"{self.num_smaller} of {self.num_masked} photographs with a mask have no larger defect than that: try "
                f"{self.advice}"
            )
        return lines


def visibility_of(catalog: Catalog, data: DataConfig) -> Visibility | None:
    """What a run with these settings could show of a catalog; None if no photograph of it can be read.

    The input size follows from the good photographs to train on, or from all where there are none. Masks are counted
    and settle nothing.
    """
    sizes = _sizes([record for record in catalog.records if record.split != "test" and record.label == NORMAL])
    sizes = sizes or _sizes(catalog.records)
    if not sizes:
        return None
    seen = [seen_size(size, tile=data.tile) for size in sizes.values()]
    size = settled_size(data, seen)
    masked = [record for record in catalog.records if record.mask_paths]
    with thread_pool() as pool:
        found = list(pool.map(lambda record: _defect(record, size, data.tile), masked))
    defects = [defect for defect in found if defect is not None]
    return Visibility(
        size,
        smallest_visible_defect(seen, size, ModelConfig.map_cell),
        mixed_shapes(seen),
        len(defects),
        sum(in_patches < 1 for _, in_patches in defects),
        _advice(defects, size),
    )


def smallest_visible_defect(sizes: Sequence[Size], input_size: Size, patch: int) -> float:
    """The longer side, in pixels of the photograph, of what one patch of the map covers; median over `sizes`.

    `patch` is the side of a patch in pixels of the model's input.
    """
    if not sizes:
        raise DataError("no image sizes given; at least one photo is needed")
    height, width = input_size
    return float(np.median([patch * max(h / height, w / width) for h, w in sizes]))


def _sizes(records: Sequence[ImageRecord]) -> dict[Path, Size]:
    """The size of every photograph that can be read; `check_catalog` lists the others."""
    sizes = {}
    for record in records:
        with contextlib.suppress(DataError):
            sizes[record.path] = read_image_size(record.path)
    return sizes


def _defect(record: ImageRecord, input_size: Size, tile: int | None) -> tuple[float, float] | None:
    """The side of a square as large as the largest marked region, in pixels of the photograph and in patches."""
    try:
        mask = read_mask(record.mask_paths)
    except DataError:
        return None
    if not mask.any():
        return None
    height, width = mask.shape
    rows, columns = seen_size((height, width), tile=tile)
    side = math.sqrt(largest_region(mask))
    patch = ModelConfig.map_cell * math.sqrt(rows * columns / (input_size[0] * input_size[1]))
    return side, side / patch


def _advice(defects: Sequence[tuple[float, float]], input_size: Size) -> str | None:
    """A larger input if there is one that is large enough, else tiles."""
    if not defects:
        return None
    side, in_patches = (float(np.quantile(values, SMALL_SHARE)) for values in zip(*defects, strict=True))
    if in_patches >= 1:
        return None
    height, width = (math.ceil(one / in_patches / SIZE_STEP) * SIZE_STEP for one in input_size)
    if max(height, width) <= MAX_IMAGE_SIZE:
        work = height * width / (input_size[0] * input_size[1])
        return f"--image-size {height}x{width} ({work:.1f} times the work)"
    tile_input = LEAST_SIDE if side < ModelConfig.map_cell else MOST_SIDE  # of the smaller tiles; they are enlarged
    tile = max(math.floor(side * tile_input / ModelConfig.map_cell / SIZE_STEP) * SIZE_STEP, SMALLEST_TILE)
    return f"--tile {tile}"
