"""The size of the model's input where it is left to the photographs: they keep their shape. No torch.

See docs/decisions/0024-own-shape.md.
"""

import math
import statistics
from collections.abc import Sequence

from cavga.arrays import Size
from cavga.config.schema import SIZE_STEP, DataConfig
from cavga.errors import DataError
from cavga.images.roi import Roi

# px: of squares with the fewest and the most pixels of an input; between them it has as many as the photographs.
LEAST_SIDE, MOST_SIDE = 256, 384
MOST_ELONGATED = 4  # times as long as wide; longer photographs are shortened to that
# Shapes are mixed where more than MIXED_SHARE of the photographs have height / width off the median by this factor.
MIXED_FACTOR = 1.25
MIXED_SHARE = 0.1
MIXED_REMEDY = "train one run for each shape, or tile (--tile N) to cut them all into squares"


def seen_size(size: Size, *, tile: int | None = None, roi: Roi | None = None) -> Size:
    """Height and width of what of a photograph is resized to the model's input: all, a region of interest or a tile."""
    height, width = size if roi is None else (roi.height, roi.width)
    return (height, width) if tile is None else (min(height, tile), min(width, tile))


def size_in_own_shape(sizes: Sequence[Size], *, most_side: int = MOST_SIDE) -> Size:
    """The shape and about as many pixels as the median of these (height, width) has; multiples of 32.

    At least 256 x 256 pixels in all and at most `most_side` squared: a larger input shows smaller defects,
    where the photographs do, and costs as much more as it is larger.
    """
    ratio = min(max(_median_ratio(sizes), 1 / MOST_ELONGATED), MOST_ELONGATED)
    side = math.sqrt(statistics.median_low(height * width for height, width in sizes))
    side = min(max(side, LEAST_SIDE), most_side)
    return _in_steps(side * math.sqrt(ratio)), _in_steps(side / math.sqrt(ratio))


def settled_size(data: DataConfig, sizes: Sequence[Size]) -> Size:
    """The input size that settings ask for, of photographs of which this much is seen; raises DataError without any."""
    return size_in_own_shape(sizes) if isinstance(data.image_size, str) else data.image_size


def mixed_shapes(sizes: Sequence[Size]) -> str | None:
    """What is to be said of photographs that have no one shape to keep; None where they have."""
    median = _median_ratio(sizes)
    ratios = [height / width for height, width in sizes]
    num_other = sum(max(ratio / median, median / ratio) > MIXED_FACTOR for ratio in ratios)
    if num_other <= MIXED_SHARE * len(sizes):
        return None
    return (
        f"photographs of mixed shapes, height to width {min(ratios):.2g} to {max(ratios):.2g}: {num_other} of "
        f"{len(sizes)} are more than {MIXED_FACTOR - 1:.0%} off the median, {median:.2g}, and are stretched to it"
    )


def _median_ratio(sizes: Sequence[Size]) -> float:
    """Height / width of the median photograph: of one that is there, not between two."""
    if not sizes:
        raise DataError("no image sizes given; at least one photograph is needed")
    return statistics.median_low(height / width for height, width in sizes)


def _in_steps(side: float) -> int:
    return round(side / SIZE_STEP) * SIZE_STEP
