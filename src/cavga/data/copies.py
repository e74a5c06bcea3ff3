"""Which photographs are one and the same: files copied, saved again, resized, or taken again. No torch.

Copies say nothing new: a model that has learnt one knows the others, and a threshold that they set promises less than
their number. So they are one unit wherever images are split, folded or counted.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import Size
from cavga.data.records import ImageRecord
from cavga.errors import DataError
from cavga.images.decode import decode_photograph, read_bytes
from cavga.images.pixel_range import PixelRange

# Two photographs are near-copies where their thumbnails, each without its mean, differ by at most MOST_DIFFERENT grey
# levels (root mean square) and by at most LARGEST_SHARE of the median difference between one of them and the others.
# On seven real sets the closest different photographs are 1.9 levels apart (without the second rule a set of
# featureless parts would be one photograph); JPEG of quality 75, half the size, or a second exposure make 0.3 to 1.2.
MOST_DIFFERENT = 1.25
LARGEST_SHARE = 0.2
SIDE = 64  # of a thumbnail
NUM_COMPARED = 256  # images that the median is taken over
AT_ONCE = 512  # images that are compared with all others together
_STEPS = 128  # of a grey level that a thumbnail keeps

Thumbnail = NDArray[np.uint16]
Thumbnails = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PhotographFacts:
    """What one reading of a file tells beside its pixels."""

    sha256: str
    size: Size
    thumbnail: Thumbnail
    mode: str
    """Pillow's."""
    depth: int | None
    """As `grey_depth`."""
    remarks: tuple[str, ...]
    """What is to be said of it, going behind its name."""


def read_once(path: Path, pixel_range: PixelRange | None = None) -> tuple[NDArray[np.uint8], PhotographFacts]:
    """Pixels and hash of the same bytes, so that what is used is what is named."""
    content = read_bytes(path)
    photograph = decode_photograph(content, path, pixel_range)
    pixels, sha256 = photograph.pixels, hashlib.sha256(content).hexdigest()
    size, thumbnail = (pixels.shape[0], pixels.shape[1]), thumbnail_of(pixels)
    return pixels, PhotographFacts(sha256, size, thumbnail, photograph.mode, photograph.depth, photograph.remarks)


def read_as_hashed(path: Path, sha256: str, pixel_range: PixelRange | None = None) -> NDArray[np.uint8]:
    """The pixels of a file that was hashed before; raises DataError if its content is another one by now."""
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: was changed while it was in use; start again when nothing writes to it")
    return decode_photograph(content, path, pixel_range).pixels


def thumbnail_of(pixels: NDArray[np.uint8]) -> Thumbnail:
    """A photograph's light at SIDE x SIDE, whatever its size was."""
    grey = Image.fromarray(pixels).convert("L").convert("F")
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return np.rint(small * _STEPS).astype(np.uint16).ravel()


def group_copies(records: Sequence[ImageRecord], units: Sequence[int]) -> tuple[ImageRecord, ...]:
    """The records with copies as groups, beside those that they have: what groups share an image is one."""
    parents: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        while parents.setdefault(key, key) != key:
            key = parents[key]
        return key

    for record, unit in zip(records, units, strict=True):
        if record.group is not None:
            parents[root(record.group)] = root(unit)
    roots = [root(unit) for unit in units]
    counts, names = Counter(roots), dict[Hashable, str]()
    for record, key in zip(records, roots, strict=True):
        names.setdefault(key, record.group or record.relative_path)
    return tuple(
        replace(record, group=names[key]) if counts[key] > 1 else record
        for record, key in zip(records, roots, strict=True)
    )


def units_of_copies(hashes: Sequence[str], thumbnails: Sequence[Thumbnail]) -> list[int]:
    """Which photograph each image is of, counted from 0: copies and near-copies have one number.

    A near-copy joins the first image that it is like, and no further ones by way of it: frames of a slow film are not
    all one photograph.
    """
    first: dict[str, int] = {}
    for i, sha256 in enumerate(hashes):
        first.setdefault(sha256, i)
    different = list(first.values())
    if not different:
        return []
    leaders = _leaders(_levelled(thumbnails, different))
    unit_of = {hashes[i]: different[leader] for i, leader in zip(different, leaders, strict=True)}
    numbers = {leader: number for number, leader in enumerate(dict.fromkeys(unit_of[sha256] for sha256 in hashes))}
    return [numbers[unit_of[sha256]] for sha256 in hashes]


def _levelled(thumbnails: Sequence[Thumbnail], chosen: Sequence[int]) -> Thumbnails:
    """Thumbnails in grey levels, each without its mean and all without what they have in common."""
    levels: Thumbnails = np.stack([thumbnails[i] for i in chosen]).astype(np.float32) / np.float32(_STEPS)
    levels -= levels.mean(axis=1, keepdims=True)
    levels -= levels.mean(axis=0)
    return levels


def _leaders(levels: Thumbnails) -> list[int]:
    """The first image that each is like, which may be itself."""
    limits = np.minimum(MOST_DIFFERENT, LARGEST_SHARE * _usual_difference(levels))
    found = np.arange(len(levels))
    leaders: list[int] = []
    for start in range(0, len(levels), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(levels)))
        before = np.array(leaders, dtype=np.intp)
        known, within = _differences(levels, rows, before), _differences(levels, rows, rows)
        for i in rows:
            new = np.array(leaders[len(before) :], dtype=np.intp)
            others = np.concatenate([before, new])
            differences = np.concatenate([known[i - start], within[i - start, new - start]])
            is_like = differences <= np.minimum(limits[i], limits[others])
            if is_like.any():
                found[i] = others[int(is_like.argmax())]
            else:
                leaders.append(int(i))
    return found.tolist()


def _usual_difference(levels: Thumbnails) -> NDArray[np.float32]:
    """The median difference of each image from the others, or from some of many."""
    compared = np.sort(np.random.default_rng(0).permutation(len(levels))[:NUM_COMPARED])
    usual = np.zeros(len(levels), dtype=np.float32)
    if len(levels) < 2:
        return usual
    for start in range(0, len(levels), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(levels)))
        differences = _differences(levels, rows, compared)
        differences[rows[:, None] == compared] = np.nan
        usual[rows] = np.nanmedian(differences, axis=1)
    return usual


def _differences(levels: Thumbnails, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """Root mean square differences of some images from others."""
    some, others = levels[rows], levels[columns]
    squared = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * some @ others.T
    return np.sqrt(np.maximum(squared, 0) / np.float32(SIDE**2)).astype(np.float32)
