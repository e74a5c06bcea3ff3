"""How a photograph becomes what a model sees, and maps of that become one map of the photograph. No torch.

A photograph is cut to the region of interest and into tiles; each tile is resized to the model's input. The maps of
the tiles are laid over each other in the photograph's frame. Training, thresholds and prediction all come here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import AnomalyMap, Photograph, Size
from cavga.images.pixel_range import PixelRange, pixel_range_of
from cavga.images.roi import Roi, roi_of

OVERLAP = 4  # the overlap of two tiles is their side divided by this


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of a photograph: where tiles of `length` pixels start, and where their maps go.

    A tile's map takes `map_length` pixels of the frame's `frame_length`, from `map_starts` on; `weights` (tiles x
    map_length) fall linearly over the overlap, and where several tiles lie over each other their sum is 1.
    """

    starts: tuple[int, ...]
    length: int
    map_starts: tuple[int, ...]
    map_length: int
    frame_length: int
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TileLayout:
    """Where the tiles of photographs of one size lie, and what of the frame's map counts (all of it if None)."""

    rows: Axis
    columns: Axis
    places: tuple[tuple[int, int], ...]  # position on either axis of every tile
    inside: NDArray[np.bool_] | None

    def cut(self, part: Photograph) -> Iterator[Photograph]:
        """The tiles of a photograph that is cut to the region of interest."""
        for i, k in self.places:
            y, x = self.rows.starts[i], self.columns.starts[k]
            yield part[y : y + self.rows.length, x : x + self.columns.length]

    def stitch(self, maps: Iterable[AnomalyMap]) -> AnomalyMap:
        """The frame's map from those of the tiles, taken one at a time.

        Outside the region of interest it is 0, or the lowest value inside where that is below 0: nowhere more anomalous
        than inside.
        """
        rows, columns = self.rows, self.columns
        frame = np.zeros((rows.frame_length, columns.frame_length), dtype=np.float32)
        for (i, k), tile in zip(self.places, maps, strict=True):
            y, x = rows.map_starts[i], columns.map_starts[k]
            weights = rows.weights[i][:, None] * columns.weights[k]
            frame[y : y + rows.map_length, x : x + columns.map_length] += weights * self._shrunk(tile)
        if self.inside is not None:
            frame[~self.inside] = frame[self.inside].min(initial=0)  # of log-odds 0 may lie above the threshold
        return frame

    def mask(self, whole: AnomalyMap, threshold: float) -> NDArray[np.bool_]:
        """Where the frame's map reaches a threshold, inside the region of interest."""
        mask = whole >= np.float32(threshold)
        return mask if self.inside is None else mask & self.inside

    def _shrunk(self, tile: AnomalyMap) -> AnomalyMap:
        size = (self.rows.map_length, self.columns.map_length)
        if tile.shape == size:
            return tile
        return np.asarray(Image.fromarray(tile).resize(size[::-1], Image.Resampling.BILINEAR), dtype=np.float32)


class Tiling:
    """What of a photograph a model sees: the bits of its greys, the region of interest, and tiles of it.

    `is_plain`: neither; then a photograph is one tile, and the tile's map is its map. Else a map has as many pixels
    per pixel of the photograph as in a tile, image_size / tile, and never more than one.
    """

    def __init__(
        self,
        image_size: Size,
        *,
        tile: int | None = None,
        roi: Roi | None = None,
        pixel_range: PixelRange | None = None,
    ) -> None:
        self.image_size, self.tile, self.roi, self.pixel_range = image_size, tile, roi, pixel_range or PixelRange()
        self.is_plain = tile is None and roi is None
        self._layout = lru_cache(maxsize=4)(self._make_layout)

    def check_fit(self, size: Size, name: str) -> None:
        """Raise DataError, which names the photograph and both sizes, if it does not fit the region of interest."""
        if self.roi is not None:
            self.roi.check_fit(size, name)

    def layout(self, size: Size) -> TileLayout:
        """The layout of photographs of one size, which has to fit."""
        return self._layout(size)

    def num_tiles(self, size: Size) -> int:
        return 1 if self.is_plain else len(self.layout(size).places)

    def tiles(self, photograph: Photograph) -> Iterator[Photograph]:
        """The tiles of a photograph that fits, not resized yet: views, where nothing is painted over."""
        if self.is_plain:
            return iter([photograph])
        layout = self.layout(_size(photograph))
        return layout.cut(photograph if self.roi is None else self.roi.cut(photograph))

    def identity(self) -> list[Any]:
        """What tells it from another one."""
        return [self.tile, None if self.roi is None else self.roi.identity()]

    def described(self) -> dict[str, Any]:
        """What goes into a model's description under `preprocessing`; the inverse of `tiling_of`."""
        tile = {} if self.tile is None else {"tile": self.tile, "tile_overlap": self.tile // OVERLAP}
        roi = {} if self.roi is None else {"roi": self.roi.described()}
        return tile | roi | self.pixel_range.described()

    def _make_layout(self, size: Size) -> TileLayout:
        height, width = size if self.roi is None else (self.roi.height, self.roi.width)
        y, x = (0, 0) if self.roi is None else (self.roi.y, self.roi.x)
        rows = _axis(height, self.tile, self.image_size[0], frame=size[0], offset=y)
        columns = _axis(width, self.tile, self.image_size[1], frame=size[1], offset=x)
        drawn = None if self.roi is None else self.roi.inside()
        places = [(i, k) for i in range(len(rows.starts)) for k in range(len(columns.starts))]
        if drawn is not None:  # a tile that is nothing but grey says nothing
            places = [(i, k) for i, k in places if _tile(drawn, rows, columns, i, k).any()]
        inside = None if self.roi is None else _inside(rows, columns, drawn)
        return TileLayout(rows, columns, tuple(places), inside)


def tiling_of(description: Mapping[str, Any], image_size: Size) -> Tiling:
    """The tiling of a model by its description, plain for one that says nothing; raises ModelFileError."""
    described = description.get("preprocessing", {})
    roi = described.get("roi")
    return Tiling(
        image_size,
        tile=described.get("tile"),
        roi=None if roi is None else roi_of(roi),
        pixel_range=pixel_range_of(described),
    )


def stitch_results(
    tiling: Tiling, sizes: Sequence[Size], results: Iterable[tuple[float, AnomalyMap | None]]
) -> Iterator[tuple[float, AnomalyMap | None]]:
    """Score and map of whole photographs of these sizes from those of all their tiles, in order.

    A photograph's score is the highest of its tiles'; it has no map where one of them has none.
    """
    remaining = iter(results)
    for size in sizes:
        tiles = [next(remaining) for _ in range(tiling.num_tiles(size))]
        maps = [anomaly_map for _, anomaly_map in tiles if anomaly_map is not None]
        score = max(score for score, _ in tiles)
        if tiling.is_plain or len(maps) < len(tiles):
            yield score, (maps[0] if len(maps) == len(tiles) else None)
        else:
            yield score, tiling.layout(size).stitch(maps)


def _size(photograph: Photograph) -> Size:
    height, width = photograph.shape[:2]
    return height, width


def _axis(side: int, tile: int | None, input_length: int, *, frame: int, offset: int) -> Axis:
    """An axis of a region of `side` pixels that starts at `offset` of a photograph of `frame` pixels."""
    length = side if tile is None else min(tile, side)
    map_length = min(input_length, length)
    step = length - length // OVERLAP
    starts = tuple(min(start, side - length) for start in range(0, max(side - length, 0) + step, step))
    num_needed = starts.index(side - length) + 1
    frame_length = _rounded(frame * map_length, length)
    map_starts = tuple(_rounded((offset + start) * map_length, length) for start in starts[:num_needed])
    weights = _weights(map_starts, map_length, frame_length)
    return Axis(starts[:num_needed], length, map_starts, map_length, frame_length, weights)


def _weights(starts: Sequence[int], length: int, frame_length: int) -> NDArray[np.float32]:
    """A ramp at both ends of every tile, divided by the sum of all tiles' where it lies."""
    centres = np.arange(length, dtype=np.float64) + 0.5
    ramp = np.minimum(np.minimum(centres, length - centres) / max(length / OVERLAP, 1), 1)
    total = np.zeros(frame_length)
    for start in starts:
        total[start : start + length] += ramp
    return np.stack([ramp / total[start : start + length] for start in starts]).astype(np.float32)


def _tile(drawn: NDArray[np.bool_], rows: Axis, columns: Axis, i: int, k: int) -> NDArray[np.bool_]:
    y, x = rows.starts[i], columns.starts[k]
    return drawn[y : y + rows.length, x : x + columns.length]


def _inside(rows: Axis, columns: Axis, drawn: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Which pixels of the frame's map count: those of which at least half lies in the region of interest."""
    inside = np.zeros((rows.frame_length, columns.frame_length), dtype=np.bool_)
    region = tuple(slice(axis.map_starts[0], axis.map_starts[-1] + axis.map_length) for axis in (rows, columns))
    if drawn is None:
        inside[region] = True
    else:
        height, width = inside[region].shape
        grey = Image.fromarray(drawn.astype(np.uint8) * 255)
        inside[region] = np.asarray(grey.resize((width, height), Image.Resampling.BOX)) >= 128
    return inside


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number, exactly; halves go up, so that shifts by whole numbers keep their distance."""
    return (2 * numerator + denominator) // (2 * denominator)
