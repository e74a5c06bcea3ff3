"""Masks as people's tools write them: which pixels are marked, and what makes one doubtful. No torch.

- Several channels: a pixel is marked where any of them is above 0, so (1, 0, 0) of a class number counts.
- Palettes: what is painted black is background, and index 0 where nothing is black.
- Transparency: of one colour throughout, what is opaque is marked; otherwise what is painted and opaque.
- Lossy files (JPEG): what is above half of the range counts, because around edges they hold values that nobody drew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.images.decode import facts_of, load_image, read_bytes, size_text
from cavga.images.opening import image_error, naming

MANY_VALUES = 32  # different ones of a mask: more than anybody's classes
LARGEST_SHARE = 0.5  # of a picture that is marked: beyond it background and defect are likely to be exchanged

Marked = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MaskReading:
    """A mask, height x width, and what makes it doubtful, each text going behind the name of its file."""

    mask: Marked
    doubts: tuple[str, ...]


def read_mask(paths: Sequence[Path]) -> Marked:
    """Height x width, True where any of the files marks the pixel."""
    return examine_masks(paths).mask


def examine_masks(paths: Sequence[Path]) -> MaskReading:
    """What all files of one image mark together, and the doubts of each, behind its name."""
    readings = [examine_mask(path) for path in paths]
    masks = [reading.mask for reading in readings]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise image_error(
                path,
                f"mask is {size_text(mask.shape)}, but {paths[0].name} of the same image is "
                f"{size_text(masks[0].shape)}",
                "draw all masks of an image at one size",
            )
    doubts = (f"{path.name} {text}" for path, reading in zip(paths, readings, strict=True) for text in reading.doubts)
    return MaskReading(np.logical_or.reduce(masks), tuple(doubts))


def examine_mask(path: Path, *, is_region: bool = False) -> MaskReading:
    """What one file marks, and its doubts; most of a picture may well be a region of interest."""
    image = load_image(read_bytes(path), path)
    facts = facts_of(image)
    with naming(path):
        values, num_values = _values(image)
        if facts.is_inverted:
            values = values.max() - values
        cut = float(values.max()) / 2 if facts.is_lossy else 0
        mask = values > cut
    doubts = []
    if facts.is_lossy:
        doubts.append(f"is a lossy {facts.format} file: only what is above half of its range is taken as marked")
    elif num_values > MANY_VALUES:
        doubts.append(f"has {num_values} different values, as a photograph has: all above 0 are taken as marked")
    share = float(mask.mean())
    if share > LARGEST_SHARE and (not is_region or share == 1):
        doubts.append(f"marks {share:.0%} of the picture: see that it is not inverted")
    return MaskReading(mask, tuple(doubts))


def _values(image: Image.Image) -> tuple[NDArray[Any], int]:
    """Height x width, above 0 where something is marked, and how many different values were drawn."""
    if image.mode == "F" or image.mode.startswith("I"):
        grey = np.asarray(image)  # converted to 8 bits, a small value of 16 could become 0
        return grey, len(np.unique(grey))
    if image.has_transparency_data:
        return _of_transparency(np.asarray(image.convert("RGBA")))
    if image.mode == "P":
        return _of_palette(image)
    grey = _strongest(np.asarray(image.convert("L") if image.mode in ("1", "L") else image.convert("RGB")))
    return grey, len(np.unique(grey))


def _of_palette(image: Image.Image) -> tuple[NDArray[np.uint8], int]:
    indices = np.asarray(image)
    num_values = len(np.unique(indices))
    painted = _strongest(np.asarray(image.convert("RGB")))
    has_both = bool((painted == 0).any() and (painted > 0).any())
    return (painted if has_both else indices), num_values


def _of_transparency(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    painted, alpha = _strongest(pixels[..., :3]), pixels[..., 3]
    if alpha.min() == alpha.max():
        found = painted
    elif (pixels[..., :3] == pixels[0, 0, :3]).all():
        found = alpha
    else:
        found = np.minimum(painted, alpha)
        found = found if found.any() else alpha  # black paint on white paper that does not show
    return found, len(np.unique(found))


def _strongest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 2 else pixels.max(axis=2)
