"""Image files to uint8 arrays, height x width x 3, RGB: the one place where pixels are brought to 8 bits. No torch.

Fixed rules, the same for every image of a set, so that grey levels stay comparable:
- EXIF orientation is applied; several pages or frames: the first counts.
- 16-bit grey is scaled by the bit depth that its set uses (cavga.images.pixel_range), never stretched per image.
  16-bit colour, PNG or TIFF, comes out of Pillow as its upper 8 bits: at most one level from the rounded value.
- Alpha is dropped, not composited: what is transparent shows the colour that is stored there.
- Float pixels have no range to scale from and are refused.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from cavga.images.opening import check_png, image_error, naming, no_warnings, open_file, open_image
from cavga.images.pixel_range import FULL_DEPTH, PixelRange, depth_in_use

NUM_DECODE_THREADS = min(8, os.cpu_count() or 1)
BATCH_SIZE = 16  # images that go through a network at once, outside of training

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG, _MAX_SAMPLE_TAG, _BITS_TAG = 262, 281, 258
_DIGITS = re.compile(r"\d+")
_FACTS = "cavga"  # in `Image.info`, which outlives turning a picture upright
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class FileFacts:
    """What a file says of its pixels beside their values."""

    format: str
    is_lossy: bool = False
    is_inverted: bool = False
    """A TIFF whose 0 is white, of a kind that Pillow leaves as it is."""
    declared_depth: int | None = None
    """Bits of a 16-bit grey that its tags say are used."""
    num_pages: int = 1


@dataclass(frozen=True, eq=False)
class Photograph:
    """The pixels of a file, and what is to be said of how they were read, each text going behind its name.

    `mode` is Pillow's, `depth` as `grey_depth`.
    """

    pixels: NDArray[np.uint8]
    remarks: tuple[str, ...]
    mode: str
    depth: int | None


def read_image(path: Path, pixel_range: PixelRange | None = None) -> NDArray[np.uint8]:
    """The image as height x width x 3, RGB, upright."""
    return read_photograph(path, pixel_range).pixels


def read_photograph(path: Path, pixel_range: PixelRange | None = None) -> Photograph:
    """As `read_image`, with what a user should know; without a range 16-bit greys are taken to use all 16 bits."""
    return decode_photograph(read_bytes(path), path, pixel_range)


def decode_photograph(content: bytes, path: Path, pixel_range: PixelRange | None = None) -> Photograph:
    """As `read_photograph`, of a file's content; `path` is for messages only."""
    image = load_image(content, path)
    used = PixelRange() if pixel_range is None else pixel_range
    pixels, depth = to_rgb(image, path, bit_depth=used.bit_depth), grey_depth(image)
    remarks = [_pages_remark(facts_of(image).num_pages), used.remark(depth)]
    return Photograph(pixels, tuple(text for text in remarks if text), image.mode, depth)


def decode_picture(picture: Image.Image, name: str, pixel_range: PixelRange) -> Photograph:
    """As `read_photograph`, of a picture that Pillow has opened or made; it stays as it is."""
    with naming(Path(name)):
        if 0 in picture.size:
            raise image_error(Path(name), f"has {picture.width} x {picture.height} px", "give one with pixels")
        own = picture.copy()
        own.info[_FACTS] = FileFacts(picture.format or "", is_inverted=_is_inverted(picture))
        orientation = _orientation(picture)
        own = own.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else own
    pixels, depth = to_rgb(own, Path(name), bit_depth=pixel_range.bit_depth), grey_depth(own)
    remark = pixel_range.remark(depth)
    return Photograph(pixels, () if remark is None else (remark,), own.mode, depth)


def decode_array(pixels: NDArray[np.uint8] | NDArray[np.uint16], pixel_range: PixelRange) -> Photograph:
    """As `read_photograph`, of height x width x 1 (grey), 3 (RGB) or 4 (and alpha); the result is a copy."""
    has_16_bits, is_grey = pixels.dtype.itemsize > 1, pixels.shape[2] == 1
    depth = depth_in_use(int(pixels.max())) if has_16_bits and is_grey else None
    colours: NDArray[Any] = pixels[..., :3]
    if has_16_bits:
        colours = _scaled(colours, pixel_range.bit_depth) if is_grey else colours >> 8
    remark = pixel_range.remark(depth)
    rgb = np.repeat(colours, 3, axis=2) if is_grey else np.array(colours)
    return Photograph(rgb.astype(np.uint8, copy=False), () if remark is None else (remark,), "", depth)


def read_for_display(path: Path) -> NDArray[np.uint8]:
    """As `read_image`, 16-bit greys by the bits that this photograph uses: for people, not for models."""
    image = load_image(read_bytes(path), path)
    return to_rgb(image, path, bit_depth=grey_depth(image) or FULL_DEPTH)


def _pages_remark(num_pages: int) -> str | None:
    """What is to be said of a file of so many pages, if anything."""
    return f"has {num_pages} pages or frames, of which only the first is used" if num_pages > 1 else None


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image, from its header alone."""
    with naming(path), open_file(path) as file:
        image = open_image(file, path)
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # `size` is upright already in newer Pillow
            width, height = image.tag_v2[256], image.tag_v2[257]
        return (width, height) if _orientation(image) >= 5 else (height, width)


def read_bytes(path: Path) -> bytes:
    """The content of a file; one that is missing or may not be read is an ImageFileError."""
    with naming(path), open_file(path) as file:
        return file.read()


def load_image(content: bytes, path: Path) -> Image.Image:
    """Decode completely and turn upright, in the file's own mode; `path` is for messages only."""
    with naming(path):
        image = open_image(BytesIO(content), path)
        if image.format == "PNG":
            check_png(content, path)
        orientation, facts = _orientation(image), _facts(image, content)
        image.load()
        if image.format == "TIFF":  # newer Pillow turns a TIFF while loading it, and clears the tag
            orientation = _orientation(image)
        image.info[_FACTS] = facts
        return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def facts_of(image: Image.Image) -> FileFacts:
    """What is known of the file of an image that `load_image` gave."""
    return image.info[_FACTS]


def grey_depth(image: Image.Image) -> int | None:
    """Of how many bits the values of a 16-bit grey image make use; None for every other image."""
    if not image.mode.startswith("I"):
        return None
    return depth_in_use(int(np.asarray(image).max()), facts_of(image).declared_depth)


def to_rgb(image: Image.Image, path: Path, *, bit_depth: int = FULL_DEPTH) -> NDArray[np.uint8]:
    """The pixels as height x width x 3 by the rules above; `path` is for messages only."""
    if image.mode == "F":
        raise image_error(
            path, "has float pixels (mode F), whose range is unknown", "save it with 8 or 16 bits per channel"
        )
    with naming(path):
        if image.mode.startswith("I"):
            grey = _sixteen_to_eight_bits(np.asarray(image), path, bit_depth)
            grey = 255 - grey if facts_of(image).is_inverted else grey
            return np.repeat(grey[..., None], 3, axis=2)
        image.info.pop("transparency", None)  # Pillow would warn that converting drops it: we want that
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def size_text(shape: tuple[int, ...]) -> str:
    """An array's height and width in the order that people write: width x height."""
    return f"{shape[1]} x {shape[0]} px"


def remarks_lines(remarks: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A line for each kind of thing that is to be said of photographs, by name; kinds differ in more than a number."""
    kinds: dict[str, list[str]] = {}
    for name, texts in remarks.items():
        for text in texts:
            kinds.setdefault(_DIGITS.sub("", text), []).append(f"{name}: {text}")
    return [first + (f" (and {len(others)} more like it)" if others else "") for first, *others in kinds.values()]


def _sixteen_to_eight_bits(grey: NDArray[np.integer], path: Path, bit_depth: int) -> NDArray[np.uint8]:
    lowest, highest = int(grey.min()), int(grey.max())
    if lowest < 0 or highest > 65535:
        raise image_error(
            path,
            f"has 32-bit pixels from {lowest} to {highest}, expected 0 to 65535",
            "save it with 8 or 16 bits per channel",
        )
    return _scaled(grey, bit_depth)


def _scaled(grey: NDArray[np.integer], bit_depth: int) -> NDArray[np.uint8]:
    """Greys of 0 to 65535, 2 ** `bit_depth` - 1 and above being white."""
    largest = 2**bit_depth - 1
    scaled = (grey.astype(np.uint32) * 255 + largest // 2) // largest
    return np.minimum(scaled, 255).astype(np.uint8)


def _facts(image: Image.Image, content: bytes) -> FileFacts:
    name = "JPEG" if image.format == "MPO" else image.format or ""
    is_lossy = name in ("JPEG", "AVIF") or (name == "WEBP" and b"VP8L" not in content[:64])
    pages = _num_pages(image, content)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return FileFacts(name, is_lossy, _is_inverted(image), _declared_by_tiff(image.tag_v2), pages)
    return FileFacts(name, is_lossy, False, _significant_bits(content) if name == "PNG" else None, pages)


def _is_inverted(image: Image.Image) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return image.mode.startswith("I") and image.tag_v2.get(_PHOTOMETRIC_TAG) == 0


def _num_pages(image: Image.Image, content: bytes) -> int:
    """How many pages or frames there are; 1 if that cannot be told, and of a JPEG with previews."""
    if image.format == "MPO" or (isinstance(image, TiffImagePlugin.TiffImageFile) and not image.tag_v2.next):
        return 1
    if image.format in ("TIFF", "GIF"):  # counting moves on to other pages, so it is done elsewhere
        image = open_image(BytesIO(content), Path())
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # decoders raise anything on broken bytes
        return 1


def _declared_by_tiff(tags: Mapping[int, object]) -> int | None:
    """The bits that a TIFF of greys says it uses: BitsPerSample, or MaxSampleValue; None of all 16, or if unsaid."""
    most, bits = tags.get(_MAX_SAMPLE_TAG), tags.get(_BITS_TAG)
    said = [value for value in (bits if isinstance(bits, tuple) else ()) if isinstance(value, int)]
    said += [value.bit_length() for value in (most if isinstance(most, tuple) else (most,)) if isinstance(value, int)]
    return min((depth for depth in said if 0 < depth < FULL_DEPTH), default=None)


def _significant_bits(content: bytes) -> int | None:
    """The bits that a PNG of greys says it uses (its chunk sBIT)."""
    start = 8
    while start + 12 <= len(content):
        length, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        if kind == b"sBIT" and length:
            return content[start + 8]
        if kind == b"IDAT":
            return None
        start += 12 + length
    return None


def _orientation(image: Image.Image) -> int:
    try:
        with no_warnings():
            # Not `image.getexif()`: for PNG that decodes the whole picture to look behind it.
            return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata raises anything; the pixels may be sound
        return 1
