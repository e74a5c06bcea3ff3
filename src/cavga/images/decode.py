"""Image files to uint8 arrays, height x width x 3, RGB: the one place where file formats matter. No torch.

Fixed rules, the same for every image of a set, so that grey levels stay comparable:
- EXIF orientation is applied; several pages or frames: the first counts.
- 16-bit grey is divided by 257 and rounded, never stretched per image. 16-bit colour, PNG or TIFF, comes
  out of Pillow as its upper 8 bits: at most one level from the rounded value.
- Alpha is dropped, not composited: what is transparent shows the colour that is stored there.
- Float pixels have no range to scale from and are refused.
"""

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from cavga.errors import DataError

NUM_DECODE_THREADS = min(8, os.cpu_count() or 1)
BATCH_SIZE = 16  # images that go through a network at once, outside of training

# What the suffixes stand for, and no more: Pillow would start Ghostscript for an EPS named .png.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
_AGAIN = "copy it from its source again or remove it"
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_warning_filters = threading.Lock()  # Python's warning filters belong to the whole process


class ImageFileError(DataError):
    """One image or mask cannot be read; `problem` and `remedy` are the parts of the message."""

    def __init__(self, message: str, *, problem: str = "", remedy: str = "") -> None:
        super().__init__(message)  # one positional argument, so that it survives a worker process
        self.problem = problem
        self.remedy = remedy


def read_image(path: Path) -> NDArray[np.uint8]:
    """The image as height x width x 3, RGB, upright."""
    return to_rgb(load_image(read_bytes(path), path), path)


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image, from its header alone."""
    with _naming(path), path.open("rb") as file:
        if path.stat().st_size == 0:
            raise _empty(path)
        image, orientation = _open(file)
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # `size` is upright already in newer Pillow
            width, height = image.tag_v2[256], image.tag_v2[257]
    return (width, height) if orientation >= 5 else (height, width)


def read_mask(paths: Sequence[Path]) -> NDArray[np.bool_]:
    """Height x width, True where any of the files is above 0: values 1, 3, 85 and palettes all occur."""
    masks = [_to_mask(load_image(read_bytes(path), path), path) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            raise _error(
                path,
                f"mask is {size_text(mask.shape)}, but {paths[0].name} of the same image is "
                f"{size_text(masks[0].shape)}",
                "draw all masks of an image at one size",
            )
    return np.logical_or.reduce(masks)


def read_bytes(path: Path) -> bytes:
    """The content of a file; one that is missing or may not be read is an ImageFileError."""
    with _naming(path):
        return path.read_bytes()


def load_image(content: bytes, path: Path) -> Image.Image:
    """Decode completely and turn upright, in the file's own mode; `path` is for messages only."""
    with _naming(path):
        if not content:
            raise _empty(path)
        image, orientation = _open(BytesIO(content))
        image.load()
        if image.format == "TIFF":  # newer Pillow turns a TIFF while loading it, and clears the tag
            orientation = _orientation(image)
        return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def num_pages(content: bytes) -> int:
    """How many pages or frames an image file has, of which `load_image` takes the first; 1 if that cannot be told."""
    try:
        image, _ = _open(BytesIO(content))
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))  # a JPEG with previews
    except Exception:  # decoders raise anything on broken bytes
        return 1


def to_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """The pixels as height x width x 3 by the rules above; `path` is for messages only."""
    if image.mode == "F":
        raise _error(path, "has float pixels (mode F), whose range is unknown", "save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        return np.repeat(_sixteen_to_eight_bits(np.asarray(image), path)[..., None], 3, axis=2)
    with _naming(path):
        image.info.pop("transparency", None)  # Pillow would warn that converting drops it: we want that
        return np.array(image.convert("RGB"))


def size_text(shape: tuple[int, ...]) -> str:
    """An array's height and width in the order that people write: width x height."""
    return f"{shape[1]} x {shape[0]} px"


def _to_mask(image: Image.Image, path: Path) -> NDArray[np.bool_]:
    if image.mode == "F" or image.mode.startswith("I"):
        return np.asarray(image) > 0  # converted to 8 bits, a small value of 16 could become 0
    with _naming(path):
        image.info.pop("transparency", None)
        return np.asarray(image.convert("L")) > 0


def _sixteen_to_eight_bits(grey: NDArray[np.integer], path: Path) -> NDArray[np.uint8]:
    lowest, highest = int(grey.min()), int(grey.max())
    if lowest < 0 or highest > 65535:
        raise _error(
            path,
            f"has 32-bit pixels from {lowest} to {highest}, expected 0 to 65535",
            "save it with 8 or 16 bits per channel",
        )
    return ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _open(file: BufferedReader | BytesIO) -> tuple[Image.Image, int]:
    """The image, not decoded yet, and its EXIF orientation."""
    with _no_warnings():  # of half-broken metadata, and of a large picture that is still allowed
        image = Image.open(file, formats=_FORMATS)
    return image, _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        with _no_warnings():
            # Not `image.getexif()`: for PNG that decodes the whole picture to look behind it.
            return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata raises anything; the pixels may be sound
        return 1


@contextmanager
def _no_warnings() -> Iterator[None]:
    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever a decoder or the disk raises into an ImageFileError that names the file."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise _error(path, "does not exist", "check the path") from error
    except UnidentifiedImageError as error:
        raise _error(
            path,
            "is not a PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000 or AVIF image",
            "remove it or save it as one",
        ) from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise _error(path, f"has more than {limit} million pixels", "cut it or scale it down") from error
    except Exception as error:  # decoders raise anything on broken bytes
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _error(path, f"cannot be read: {reason}", _AGAIN) from error


def _empty(path: Path) -> ImageFileError:
    return _error(path, "is empty (0 bytes)", _AGAIN)


def _error(path: Path, problem: str, remedy: str) -> ImageFileError:
    return ImageFileError(f"{path}: {problem}; {remedy}", problem=problem, remedy=remedy)
