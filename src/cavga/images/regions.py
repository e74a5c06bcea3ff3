"""From a mask to the regions in it: boxes and outlines in pixels of the photograph. NumPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import AnomalyMap, Mask
from cavga.errors import UsageError

MAX_REGIONS = 100  # of an image that are described: one with more shows noise, and its lines would have no end

Indices = NDArray[np.intp]

# The sides of a pixel, clockwise, which is the way a contour goes with the region on its right: the step to the
# pixel across the side, the step on along it, and the corner (of the pixel's four) at which the side starts.
OUTWARD = ((-1, 0), (0, 1), (1, 0), (0, -1))
ALONG = ((0, 1), (1, 0), (0, -1), (-1, 0))
FIRST_CORNER = ((0, 0), (0, 1), (1, 1), (1, 0))


@dataclass(frozen=True)
class Region:
    """One 8-connected region of a mask, in pixels of the photograph.

    `box` is (x, y, width, height), the bounds of `polygon`. `polygon` is the outer contour: corners (x, y) between
    pixels, clockwise, from 0 to the photograph's width and height, the first not said again at the end. Filled, it is
    the region with its holes; where the region touches itself, or two parts meet at a corner alone, it goes through
    that corner twice. `area` leaves holes out; `score` is the largest value of the map in the region.
    """

    box: tuple[int, int, int, int]
    polygon: tuple[tuple[int, int], ...]
    area: float
    score: float


@dataclass(frozen=True, eq=False)
class _Runs:
    """The mask's pixels as runs within rows, in reading order; `stride` apart are two pixels in one column."""

    starts: Indices
    ends: Indices
    stride: int


def find_regions(mask: Mask, anomaly_map: AnomalyMap, image_size: tuple[int, int]) -> list[Region]:
    """The regions of a mask (height, width), the largest score first, at most MAX_REGIONS.

    Map and mask have one size, the model's input's; `image_size` is the photograph's height and width. A region that
    a smaller photograph has no pixel for becomes the smallest box of pixels round it. Raises UsageError if map and
    mask differ in size.
    """
    if mask.ndim != 2 or mask.shape != anomaly_map.shape:
        raise UsageError(f"expected a mask and a map of one size, got {mask.shape} and {anomaly_map.shape}")
    if not mask.any():
        return []
    runs = _runs_of(mask)
    labels, count = _labels_of(runs)
    lengths = runs.ends - runs.starts
    run_scores = np.maximum.reduceat(anomaly_map[mask], np.cumsum(lengths) - lengths)
    scores = np.full(count, -np.inf, dtype=anomaly_map.dtype)
    np.maximum.at(scores, labels, run_scores)
    chosen = np.argsort(-scores, kind="stable")[:MAX_REGIONS]
    first_runs = np.unique(labels, return_index=True)[1][chosen]
    described = np.zeros(mask.shape, dtype=np.bool_)
    described[mask] = np.repeat(np.isin(labels, chosen), lengths)
    contours = _outer_contours(described, *np.divmod(runs.starts[first_runs], runs.stride))
    polygons = [_on_photograph(contour, mask.shape, image_size) for contour in contours]
    pixel_area = image_size[0] * image_size[1] / mask.size
    areas = np.bincount(labels, weights=lengths)[chosen] * pixel_area
    return [
        Region(_bounds(polygon), polygon, area, score)
        for polygon, area, score in zip(polygons, areas.tolist(), scores[chosen].tolist(), strict=True)
    ]


def count_regions(mask: Mask) -> int:
    """How many 8-connected regions a mask (height, width) has: all of them, not only MAX_REGIONS."""
    return _labels_of(_runs_of(mask))[1]


def largest_region(mask: Mask) -> int:
    """The pixels of the largest 8-connected region of a mask (height, width); 0 of an empty one."""
    runs = _runs_of(mask)
    labels, _ = _labels_of(runs)
    return int(np.bincount(labels, weights=runs.ends - runs.starts).max(initial=0))


def _runs_of(mask: Mask) -> _Runs:
    height, width = mask.shape
    padded = np.zeros((height, width + 1), dtype=np.int8)  # a column of outside, so that no run goes on in the next row
    padded[:, :width] = mask
    steps = np.diff(padded.ravel(), prepend=np.int8(0))
    return _Runs(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), width + 1)


def _labels_of(runs: _Runs) -> tuple[Indices, int]:
    """The region of each run, numbered by first pixel in reading order, and how many regions there are."""
    # The runs of the row above that overlap, or meet at a corner, lie side by side in the list.
    first = np.searchsorted(runs.ends, runs.starts - runs.stride - 1, side="right")
    last = np.searchsorted(runs.starts, runs.ends - runs.stride + 1, side="left")
    counts = np.maximum(last - first, 0)
    lower = np.repeat(np.arange(len(counts)), counts)
    upper = np.arange(len(lower)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    roots = np.arange(len(counts))
    while len(lower):
        low, high = np.minimum(roots[lower], roots[upper]), np.maximum(roots[lower], roots[upper])
        is_open = low != high
        lower, upper = lower[is_open], upper[is_open]
        np.minimum.at(roots, high[is_open], low[is_open])
        while not np.array_equal(further := roots[roots], roots):
            roots = further
    names, labels = np.unique(roots, return_inverse=True)
    return labels, len(names)


def _outer_contours(mask: Mask, rows: Indices, columns: Indices) -> list[Indices]:
    """The corners (row, column) of each region whose first pixel in reading order is given."""
    following, side, pixel = _boundary(mask)
    steps = following.tolist()
    contours = []
    for start in np.searchsorted(pixel[side == 0], rows * mask.shape[1] + columns).tolist():
        contour, here = [start], steps[start]  # the first pixel's upper side, which no hole has
        while here != start:
            contour.append(here)
            here = steps[here]
        contours.append(contour)
    ends = np.cumsum([len(contour) for contour in contours])
    joined = np.array([here for contour in contours for here in contour], dtype=np.intp)
    is_corner = np.empty(len(side), dtype=np.bool_)  # where the contour turns, at the start of the side
    is_corner[following] = side != side[following]
    turns = is_corner[joined]
    corners = joined[turns]
    places = np.stack(np.divmod(pixel[corners], mask.shape[1]), axis=1) + np.array(FIRST_CORNER)[side[corners]]
    return np.split(places, np.cumsum(turns)[ends - 1][:-1])


def _boundary(mask: Mask) -> tuple[Indices, Indices, Indices]:
    """Of every side between the mask and its outside, upper sides first: the next one, which it is, of which pixel.

    Where two pixels meet at a corner alone, a contour crosses over to the other one: they are one region.
    """
    padded = np.pad(mask, 1)
    places, nexts, position = [], [], np.empty((4, padded.size), dtype=np.intp)
    stride = padded.shape[1]
    flat = padded.ravel()
    total = 0
    for side in range(4):
        out, on = (row * stride + column for row, column in (OUTWARD[side], ALONG[side]))
        place = np.flatnonzero(flat)
        place = place[~flat[place + out]]
        crosses, goes_on = flat[place + out + on], flat[place + on]
        next_side = np.where(crosses, (side - 1) % 4, np.where(goes_on, side, (side + 1) % 4))
        next_place = place + np.where(crosses, out + on, np.where(goes_on, on, 0))
        position[side, place] = np.arange(total, total + len(place))
        total += len(place)
        places.append(place)
        nexts.append((next_side, next_place))
    following = np.concatenate([position[next_side, next_place] for next_side, next_place in nexts])
    sides = np.repeat(np.arange(4), [len(place) for place in places])
    rows, columns = np.divmod(np.concatenate(places), stride)
    return following, sides, (rows - 1) * mask.shape[1] + columns - 1


def _on_photograph(
    contour: Indices, mask_size: tuple[int, ...], image_size: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Corners (row, column) of the mask's pixels as (x, y) on the photograph: rounded, in whole numbers."""
    rounded = (2 * contour * image_size + mask_size) // (2 * np.array(mask_size))
    corners = [(x, y) for y, x in rounded.tolist()]
    if image_size[0] >= mask_size[0] and image_size[1] >= mask_size[1]:
        return tuple(corners)
    before = [corners[-1], *corners[:-1]]  # a smaller photograph makes corners coincide
    corners = [corner for corner, other in zip(corners, before, strict=True) if corner != other]
    if _has_area(corners):
        return tuple(corners)
    top, left = (contour.min(axis=0) * image_size // mask_size).tolist()
    bottom, right = (-(-contour.max(axis=0) * image_size // mask_size)).tolist()
    return (left, top), (right, top), (right, bottom), (left, bottom)


def _has_area(corners: list[tuple[int, int]]) -> bool:
    after = [*corners[1:], *corners[:1]]
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(corners, after, strict=True)) != 0


def _bounds(polygon: tuple[tuple[int, int], ...]) -> tuple[int, int, int, int]:
    xs, ys = zip(*polygon, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
