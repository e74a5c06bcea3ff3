"""The region of interest: the part of every photograph that counts, a rectangle or a drawn mask. No torch."""

import base64
import hashlib
import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.config.fields import parse_rectangle
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.images.decode import load_image, remarks_lines, size_text
from cavga.images.masks import examine_mask

logger = logging.getLogger("cavga")

Changed = tuple[NDArray[np.uint8], NDArray[np.bool_]]  # a picture, and where it was changed
GREY = 128  # what is painted over everything outside a mask: the same in training and in prediction


@dataclass(frozen=True, eq=False)
class Roi:
    """A rectangle in pixels of a photograph; `mask` (height x width of every photograph) is None without one."""

    x: int
    y: int
    width: int
    height: int
    mask: NDArray[np.bool_] | None = None

    @property
    def rows(self) -> slice:
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.x, self.x + self.width)

    def check_fit(self, size: tuple[int, int], name: str) -> None:
        """Raise DataError, which names the photograph and both sizes, if one of this (height, width) does not fit."""
        if self.mask is not None and self.mask.shape != size:
            raise DataError(
                f"{name}: the photograph is {size_text(size)}, but the mask of the region of interest is "
                f"{size_text(self.mask.shape)}: all photographs have to be of the mask's size"
            )
        if self.y + self.height > size[0] or self.x + self.width > size[1]:
            raise DataError(
                f"{name}: the photograph is {size_text(size)}, but the region of interest reaches to "
                f"{self.x + self.width} x {self.y + self.height} px: it has to lie within the photograph"
            )

    def inside(self) -> NDArray[np.bool_] | None:
        """Of the rectangle, height x width, which pixels count; None if all of them do."""
        return None if self.mask is None else self.mask[self.rows, self.columns]

    def marked(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Of a whole photograph of this (height, width), which has to fit: which pixels count."""
        marked = np.zeros(size, dtype=np.bool_)
        inside = self.inside()
        marked[self.rows, self.columns] = True if inside is None else inside
        return marked

    def cut(self, photograph: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rectangle of a photograph that fits, with everything outside the mask in one grey."""
        part, inside = photograph[self.rows, self.columns], self.inside()
        return part if inside is None else np.where(inside[..., None], part, np.uint8(GREY))

    def changed(
        self, photograph: NDArray[np.uint8], change: Callable[[NDArray[np.uint8]], Changed | None]
    ) -> Changed | None:
        """A photograph that fits with a change, and where: made on the rectangle, kept inside the mask.

        None if nothing of it is inside.
        """
        part, inside = photograph[self.rows, self.columns], self.inside()
        changed = change(part)
        if changed is None:
            return None
        where = changed[1] if inside is None else changed[1] & inside
        whole, mask = photograph.copy(), np.zeros(photograph.shape[:2], dtype=np.bool_)
        whole[self.rows, self.columns] = changed[0] if inside is None else np.where(inside[..., None], changed[0], part)
        mask[self.rows, self.columns] = where
        return (whole, mask) if where.any() else None

    def png(self) -> bytes | None:
        """The mask as a PNG of one bit a pixel; None without one."""
        if self.mask is None:
            return None
        buffer = io.BytesIO()
        Image.fromarray(self.mask.astype(np.uint8) * 255).convert("1").save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    def identity(self) -> list[Any]:
        """What tells it from another one, whatever file it came from."""
        shape = None if self.mask is None else self.mask.shape
        content = b"" if self.mask is None else np.packbits(self.mask).tobytes()
        return [self.x, self.y, self.width, self.height, shape, hashlib.sha256(content).hexdigest()]

    def described(self) -> dict[str, Any]:
        """As it goes into a model's description; the inverse of `roi_of`."""
        result: dict[str, Any] = {"rectangle": [self.x, self.y, self.width, self.height]}
        png = self.png()
        if png is not None:
            result["mask"] = {"sha256": hashlib.sha256(png).hexdigest(), "png": base64.b64encode(png).decode()}
        return result


def load_roi(text: str) -> Roi:
    """The region that a setting names: "x,y,width,height", or a mask image, in which everything above 0 counts.

    Raises UsageError if there is no such file, DataError if it cannot be read or nothing in it is marked.
    """
    rectangle = parse_rectangle(text)
    if rectangle is not None:
        return Roi(*rectangle)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"roi: no such mask image: {path} (a rectangle is x,y,width,height)")
    reading = examine_mask(path, is_region=True)
    for line in remarks_lines({str(path): reading.doubts}):
        logger.warning("roi: %s", line)
    return _of_mask(reading.mask, str(path))


def roi_of(described: Mapping[str, Any]) -> Roi:
    """The region of a model's description; raises ModelFileError if its mask is damaged."""
    if "mask" not in described:
        return Roi(*described["rectangle"])
    png = base64.b64decode(described["mask"]["png"])
    if hashlib.sha256(png).hexdigest() != described["mask"]["sha256"]:
        raise ModelFileError("the mask of the region of interest is damaged: its sha256 differs; train again")
    stored = load_image(png, Path("the model's region of interest"))
    return _of_mask(np.asarray(stored, dtype=np.bool_), "the model's region of interest")


def _of_mask(mask: NDArray[np.bool_], name: str) -> Roi:
    """A mask with the smallest rectangle that holds all of it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise DataError(f"{name}: nothing is marked in this mask; paint what counts in white")
    y, x = int(rows[0]), int(columns[0])
    return Roi(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y, mask)
