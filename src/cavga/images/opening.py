"""The one place where an image file is opened: known formats alone, within bounds that its header has to keep.

Everything is checked before a pixel is decoded: a few bytes can claim more pixels than there is memory for.
"""

import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import GifImagePlugin, Image, TiffImagePlugin, UnidentifiedImageError

from cavga.errors import DataError
from cavga.regular_files import NotRegularError, kind_of, open_regular

MAX_FILE_BYTES = 2**30
MAX_DECODED_BYTES = 2**30  # of a TIFF, whose pixels can be of many samples
MAX_PIXELS = 178_956_970  # what Pillow refuses by default
MAX_SIDE = 500_000
MAX_ASPECT = 10_000  # of the longer to the shorter side: Pillow spends far more on a row than on a pixel
MAX_TIFF_PARTS = 1_000_000
MAX_TIFF_PART_PIXELS = 2**26  # of one tile, which is decoded as a whole however small the picture is
MAX_JPEG_PIXELS_PER_BYTE = 512  # a block of 64 pixels takes at least one bit

# What the suffixes stand for, and no more: Pillow would start Ghostscript for an EPS named .png.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AGAIN = "copy it from its source again or remove it"
_SMALLER = "cut it or scale it down"
_warning_filters = threading.Lock()  # Python's warning filters belong to the whole process

# Tags of TIFF 6.0.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PLANAR = 256, 257, 258, 259, 277, 284
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325


class ImageFileError(DataError):
    """One image or mask cannot be read; `problem` and `remedy` are the parts of the message."""

    def __init__(self, message: str, *, problem: str = "", remedy: str = "") -> None:
        super().__init__(message)  # one positional argument, so that it survives a worker process
        self.problem = problem
        self.remedy = remedy

    @property
    def is_too_large(self) -> bool:
        """Whether it may be sound, but takes more than is spent on one."""
        return self.remedy == _SMALLER


def image_error(path: Path, problem: str, remedy: str) -> ImageFileError:
    """The error of one file."""
    return ImageFileError(f"{path}: {problem}; {remedy}", problem=problem, remedy=remedy)


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is not too large to be read; the rest is `open_image`'s."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        if size > MAX_FILE_BYTES:
            raise image_error(path, f"has {size / 2**30:.1f} GiB, more than {MAX_FILE_BYTES // 2**30}", _SMALLER)
        file.seek(0)
        yield file


def open_image(file: BinaryIO | BytesIO, path: Path) -> Image.Image:
    """The image that a file holds, not decoded yet; `path` is for messages only.

    Raises ImageFileError for one that would take too much to decode, or of which a part is missing.
    """
    num_bytes = file.seek(0, 2)
    if not num_bytes:
        raise image_error(path, "is empty (0 bytes)", _AGAIN)
    file.seek(0)
    with no_warnings():  # of half-broken metadata, and of a large picture that is still allowed
        image = Image.open(file, formats=_FORMATS)
    _check_size(image, path)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        with no_warnings():  # of tags that are read only now
            _check_tiff(image.tag_v2, num_bytes, path)
    elif image.format in ("JPEG", "MPO"):
        is_whole = image.width * image.height <= MAX_JPEG_PIXELS_PER_BYTE * num_bytes
        _require_whole(is_whole, path)
    elif isinstance(image, GifImagePlugin.GifImageFile):
        extents = [tile[1] for tile in image.tile]
        _require_whole(extents == [(0, 0, *image.size)], path)
    return image


def check_png(content: bytes, path: Path) -> None:
    """Raise ImageFileError unless every part of a PNG that its pixels come from has the checksum that it says.

    Pillow does not look at those of the pixels, so damaged ones would be other pixels without a word.
    """
    start = len(_PNG_SIGNATURE)
    while start + 12 <= len(content):  # length, name, data and CRC-32 (PNG specification, 5.3)
        (length,) = struct.unpack_from(">I", content, start)
        name, end = content[start + 4 : start + 8], start + 8 + length
        _require_whole(end + 4 <= len(content), path)
        is_critical = not name[0] & 0x20
        if is_critical and content[end : end + 4] != struct.pack(">I", zlib.crc32(content[start + 4 : end])):
            raise image_error(path, "is damaged: a checksum in it is wrong", _AGAIN)
        if name == b"IEND":
            return
        start = end + 4
    _require_whole(False, path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever a decoder or the disk raises into an ImageFileError that names the file."""
    try:
        yield
    except NotRegularError as error:
        kind = kind_of(path.stat().st_mode)
        raise image_error(path, f"is {kind}, expected a file", "remove it or move it away") from error
    except DataError:
        raise
    except FileNotFoundError as error:
        raise image_error(path, "does not exist", "check the path") from error
    except UnidentifiedImageError as error:
        problem = "is not a PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000 or AVIF image"
        raise image_error(path, problem, "remove it or save it as one") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise image_error(path, f"has more than {limit} million pixels", _SMALLER) from error
    except MemoryError as error:
        raise image_error(path, "takes more memory to read than there is", _SMALLER) from error
    except Exception as error:  # decoders raise anything on broken bytes
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise image_error(path, f"cannot be read: {reason}", _AGAIN) from error


@contextmanager
def no_warnings() -> Iterator[None]:
    """Without Python's warnings, in one thread at a time."""
    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_size(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise image_error(path, f"has more than {MAX_PIXELS // 10**6} million pixels", _SMALLER)
    longer, shorter = max(width, height), min(width, height)
    if longer > MAX_SIDE or longer > MAX_ASPECT * shorter:
        limits = f"at most {MAX_SIDE} on a side and {MAX_ASPECT} times as long as wide are read"
        raise image_error(path, f"is {width} x {height} px, where {limits}", _SMALLER)


def _check_tiff(tags: Any, num_bytes: int, path: Path) -> None:
    """Raise unless every strip or tile that the size asks for is there, within the file, and of a sane size."""
    width, height, samples = tags[_WIDTH], tags[_HEIGHT], tags.get(_SAMPLES, 1)
    bits = tags.get(_BITS, (1,))
    decoded = width * height * (sum(bits) if len(bits) > 1 else bits[0] * samples) // 8
    if decoded > MAX_DECODED_BYTES:
        raise image_error(path, f"has {decoded / 2**30:.1f} GiB of pixels", _SMALLER)
    if _TILE_OFFSETS in tags:
        part_width, part_height = tags.get(_TILE_WIDTH, width), tags.get(_TILE_HEIGHT, height)
        offsets, counts = tags[_TILE_OFFSETS], tags.get(_TILE_BYTES)
    else:
        part_width, part_height = width, min(tags.get(_ROWS_PER_STRIP, height), height)
        offsets, counts = tags.get(_STRIP_OFFSETS, ()), tags.get(_STRIP_BYTES)
    if min(part_width, part_height) < 1 or part_width * part_height > max(width * height, MAX_TIFF_PART_PIXELS):
        raise image_error(path, f"is cut into tiles of {part_width} x {part_height} px", _AGAIN)
    num_parts = math.ceil(width / part_width) * math.ceil(height / part_height)
    num_parts *= samples if tags.get(_PLANAR, 1) == 2 else 1
    if num_parts > MAX_TIFF_PARTS:
        raise image_error(path, f"is cut into {num_parts} strips or tiles", "save it again with fewer of them")
    is_there = all(0 < offset < num_bytes for offset in offsets)
    is_filled = counts is None or (len(counts) >= num_parts and all(counts))
    is_long_enough = tags.get(_COMPRESSION, 1) != 1 or decoded <= num_bytes
    _require_whole(len(offsets) >= num_parts and is_there and is_filled and is_long_enough, path)


def _require_whole(is_whole: bool, path: Path) -> None:
    if not is_whole:
        raise image_error(path, "is not whole (truncated, or parts of its pixels are missing)", _AGAIN)
