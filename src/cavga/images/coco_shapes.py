"""Shapes of COCO annotations as masks: polygons and run lengths, plain and compressed. No torch.

pycocotools does the same in C. It is not used: these are a few lines, and its decoder trusts what a file says, so that
broken run lengths write past the end of a mask.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cavga.arrays import Mask

_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48  # of a character: bits of a number, flags, and the code of 0
_MAX_CHARACTERS = 8  # of one number
_FARTHEST = 1e9  # pixels from a picture that a corner can be


def polygon_mask(corners: Sequence[float | int], size: tuple[int, int]) -> Mask:
    """The pixels of a picture (height, width) whose centres lie in a polygon [x, y, x, y, ..]; raises ValueError.

    Corners lie between pixels: 0, 0 is the outer corner of the first one. Lines that cross are even-odd.
    """
    if len(corners) < 6 or len(corners) % 2:
        raise ValueError(f"a polygon of {len(corners)} numbers; expected x and y of at least three corners")
    if not all(abs(value) < _FARTHEST for value in corners):  # nor is NaN
        raise ValueError("a polygon with a corner that is no place")
    points = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    left, top = np.clip(np.floor(points.min(axis=0)), 0, size[::-1]).astype(np.intp)
    right, bottom = np.clip(np.ceil(points.max(axis=0)), 0, size[::-1]).astype(np.intp)
    height, width = bottom - top, right - left
    turns = np.zeros((height, width + 1), dtype=bool)  # where a row goes in or out
    points -= (left, top)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        first, last = np.clip(np.ceil(np.sort([y0, y1]) - 0.5), 0, height).astype(np.intp)
        if first < last:
            rows = np.arange(first, last)
            crossed = x0 + (rows + 0.5 - y0) / (y1 - y0) * (x1 - x0)
            turns[rows, np.clip(np.ceil(crossed - 0.5), 0, width).astype(np.intp)] ^= True
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = np.logical_xor.accumulate(turns, axis=1)[:, :width]
    return mask


def run_length_mask(counts: Sequence[int] | str, size: tuple[int, int]) -> Mask:
    """Runs of pixels outside and inside in turn, down the columns of a picture (height, width); raises ValueError."""
    lengths = _decompressed(counts) if isinstance(counts, str) else list(counts)
    height, width = size
    if min(lengths, default=-1) < 0 or sum(lengths) != height * width:
        raise ValueError(f"run lengths that do not cover {width} x {height} pixels")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    mask: Mask = np.ascontiguousarray(inside.reshape(width, height).T)
    return mask


def shape_mask(shape: Any, size: tuple[int, int]) -> Mask:
    """A segmentation as a COCO file has it, polygons or {"counts", "size"}; raises ValueError."""
    if isinstance(shape, dict):
        if shape.get("size") != list(size):
            raise ValueError(f"run lengths of size {shape.get('size')}; expected {list(size)}, as its image")
        counts = shape.get("counts")
        if not isinstance(counts, str) and not (isinstance(counts, list) and all(type(one) is int for one in counts)):
            raise ValueError("run lengths that are neither text nor whole numbers")
        return run_length_mask(counts, size)
    mask = np.zeros(size, dtype=bool)
    for corners in shape:
        if not isinstance(corners, list) or not all(type(value) in (int, float) for value in corners):
            raise ValueError("a polygon that is no list of numbers")
        mask |= polygon_mask(corners, size)
    return mask


def _decompressed(text: str) -> list[int]:
    """Run lengths from text: numbers of 5 bits a character, from the third difference on to the one before last."""
    lengths: list[int] = []
    value = place = 0
    for letter in text:
        code = ord(letter) - _FIRST
        if not 0 <= code < 2 * _MORE or place >= _MAX_CHARACTERS:
            raise ValueError("compressed run lengths that cannot be read")
        value |= (code & (_MORE - 1)) << (_BITS * place)
        place += 1
        if not code & _MORE:
            value -= (code & _SIGN) << 1 << (_BITS * (place - 1))
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = place = 0
    if place:
        raise ValueError("compressed run lengths that end too early")
    return lengths
