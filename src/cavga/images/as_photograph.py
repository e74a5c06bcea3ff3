"""What a program holds of a photograph -> Photograph: NumPy arrays, torch tensors and Pillow images. No torch.

One meaning each, and what could have two is refused:

- uint8: grey levels. Float: 0 is black and 1 is white, and nothing lies outside.
- uint16: as a 16-bit file is read, greys by the bits that the model's set uses, colour by its upper 8 bits.
- Two dimensions, or one channel: grey. Three channels: RGB. Four: RGB and alpha, which is dropped.
- Arrays have their channels last. Tensors may have them first or last, where only one of the two can be.
- A Pillow image: as a file of its mode is read, turned upright by its EXIF data.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import Array
from cavga.errors import DataError
from cavga.images.decode import Photograph, decode_array, decode_picture
from cavga.images.pixel_range import PixelRange

Held = Array | Image.Image | Any  # the last: a torch tensor, whose type is not known without torch
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
_BATCH_DIMENSIONS = 4
LISTED = "arrays, tensors or Pillow images"


def is_held(image: object) -> bool:
    """Whether it is one of the kinds that `as_photograph` takes, or a batch of them."""
    return isinstance(image, np.ndarray | Image.Image) or _is_tensor(image)


def is_batch(image: Held) -> bool:
    """Whether it is an array or a tensor of several images, along its first axis."""
    return not isinstance(image, Image.Image) and image.ndim == _BATCH_DIMENSIONS


def as_photograph(image: Held, name: str, pixel_range: PixelRange) -> Photograph:
    """The pixels as uint8 RGB, height x width x 3, which are a copy, and what is to be said of how they were read.

    `name` is for messages. Raises DataError for what has no pixels, another type of numbers or another shape, floats
    outside [0, 1] or not finite, and a tensor whose channels may be the first or the last axis.
    """
    if isinstance(image, Image.Image):
        return decode_picture(image, name, pixel_range)
    array = _channels_last(_array_of(image), name) if _is_tensor(image) else image
    channels = array[..., None] if array.ndim == 2 else array
    if channels.ndim != 3 or channels.shape[2] not in CHANNELS or 0 in channels.shape:
        raise DataError(
            f"{name}: expected shape (height, width), or (height, width, channels) with 1, 3 or 4 channels, "
            f"got {array.shape}{_first_channels_hint(array)}"
        )
    return decode_array(_whole_numbers(channels, name), pixel_range)


def _whole_numbers(array: Array, name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind != "f":
        raise DataError(f"{name}: expected uint8, uint16 or floats from 0 to 1, got {array.dtype}; convert it first")
    if not np.isfinite(array).all():
        raise DataError(f"{name}: holds NaN or infinite pixels; expected floats from 0 to 1")
    lowest, highest = float(array.min()), float(array.max())
    if lowest < 0 or highest > 1:
        raise DataError(
            f"{name}: expected floats from 0 to 1, found {lowest:g} to {highest:g}; divide by the level of white, "
            "undo any normalisation, or give uint8"
        )
    return np.rint(array * np.float32(255)).astype(np.uint8)


def _is_tensor(image: object) -> bool:
    torch = sys.modules.get("torch")  # who has a tensor has loaded it
    return torch is not None and isinstance(image, torch.Tensor)


def _array_of(tensor: Any) -> Array:
    held = tensor.detach().cpu()
    return np.asarray(held.float() if held.is_floating_point() else held)  # NumPy has no bfloat16


def _channels_last(array: Array, name: str) -> Array:
    if array.ndim != 3:
        return array
    can_be_first, can_be_last = array.shape[0] in CHANNELS, array.shape[2] in CHANNELS
    if can_be_first and can_be_last:
        raise DataError(
            f"{name}: the channels of shape {array.shape} may be its first or its last axis; "
            "give a NumPy array, whose channels are the last"
        )
    return array.transpose(1, 2, 0) if can_be_first else array


def _first_channels_hint(array: Array) -> str:
    is_first = array.ndim == 3 and array.shape[0] in CHANNELS
    return "; if its channels come first, give array.transpose(1, 2, 0)" if is_first else ""
