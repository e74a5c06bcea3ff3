"""Photographs from files and arrays, brought to what a model takes. No torch."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Photograph
from cavga.errors import DataError
from cavga.images.as_photograph import Held, as_photograph
from cavga.images.decode import decode_photograph, read_photograph
from cavga.images.tiling import Tiling
from cavga.inference.engine import Engine


@dataclass(frozen=True)
class FailedImage:
    """An image that cannot be read or does not fit the region of interest, and why; `path` is None for an array."""

    error: str
    path: Path | None = None


@dataclass(frozen=True)
class DecodedImage:
    """A photograph as it is, or the one tile of it that a model sees; `size` is the whole photograph's."""

    photograph: NDArray[np.uint8]
    size: tuple[int, int]
    milliseconds: float
    path: Path | None = None
    remarks: tuple[str, ...] = ()
    given: Photograph | None = None
    """The whole photograph where it was no file, which could be read again."""


@dataclass(frozen=True, eq=False)
class FileContent:
    """The bytes of an image file that lies on no disk here; `name` is what messages call it."""

    content: bytes
    name: str


def prepare(source: Held | Path | FileContent, engine: Engine, tiling: Tiling) -> DecodedImage | FailedImage:
    """The one tile that a model without tiles sees of a photograph, at its input size."""
    whole = read(source, tiling)
    if isinstance(whole, FailedImage):
        return whole
    started = time.perf_counter()
    try:
        resized = engine.resize(next(tiling.tiles(whole.photograph)))
    except MemoryError:
        return too_large(whole)
    return replace(whole, photograph=resized, milliseconds=whole.milliseconds + (time.perf_counter() - started) * 1000)


def too_large(photograph: DecodedImage) -> FailedImage:
    """What is said of a photograph that there is no memory for."""
    height, width = photograph.size
    named = "an array" if photograph.path is None else str(photograph.path)
    return FailedImage(f"{named}: {width} x {height} px take more memory than there is; scale it down", photograph.path)


def read(source: Held | Path | FileContent, tiling: Tiling) -> DecodedImage | FailedImage:
    """A photograph as it is, which has to fit the region of interest."""
    started = time.perf_counter()
    path = source if isinstance(source, Path) else None
    try:
        match source:
            case Path():
                name, found = str(source), read_photograph(source, tiling.pixel_range)
            case FileContent(name=name):
                found = decode_photograph(source.content, Path(name), tiling.pixel_range)
            case _:
                name = f"an image ({type(source).__name__})"
                found = as_photograph(source, name, tiling.pixel_range)
        height, width = found.pixels.shape[:2]
        tiling.check_fit((height, width), name)
    except DataError as error:
        return FailedImage(str(error), path)
    milliseconds, given = (time.perf_counter() - started) * 1000, None if path is not None else found.pixels
    return DecodedImage(found.pixels, (height, width), milliseconds, path, found.remarks, given)
