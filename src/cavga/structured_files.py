"""JSON, TOML and arrays that come from outside: the one place that parses them, each against what it has to hold."""

import io
import json
import math
import re
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 64 * 2**20  # of one document: some 20 times as much in memory, and none of ours is a tenth of it

Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
Content = TypeVar("Content")
Document = dict[str, Any]


class StructureError(ValueError):
    """A text is not what it has to be; the message says what was expected and found, `place` where ("$.score")."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.place = place


def parse_json(content: bytes | str, schema: type[Content]) -> Content:
    """JSON as what `schema` says, a struct of msgspec or a plain type; raises StructureError."""
    if len(content) > MAX_BYTES:
        raise StructureError(f"expected at most {MAX_BYTES} bytes, found {len(content)}")
    try:
        found = json.loads(content)
    except RecursionError:
        raise StructureError("brackets are nested too deeply") from None
    except (ValueError, MemoryError) as error:  # also of bytes that are no text, and of numbers of 5000 digits
        raise StructureError(f"not JSON: {error}") from None
    return as_schema(found, schema)


def as_schema(found: Any, schema: type[Content]) -> Content:
    """What was parsed, as `schema` says; raises StructureError. A bool is no number, NaN is no `Finite`."""
    try:
        return msgspec.convert(found, schema)
    except msgspec.ValidationError as error:
        place = re.search(r"at `(.+)`$", str(error))
        raise StructureError(str(error), place[1] if place else "") from None
    except RecursionError:
        raise StructureError("brackets are nested too deeply") from None


def parse_toml(content: bytes) -> Document:
    """TOML in UTF-8, with or without the mark that editors of Windows put first; raises StructureError."""
    if len(content) > MAX_BYTES:
        raise StructureError(f"expected at most {MAX_BYTES} bytes, found {len(content)}")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise StructureError("brackets are nested too deeply") from None
    except (ValueError, MemoryError) as error:
        raise StructureError(f"not TOML: {error}") from None


def parse_array(content: bytes) -> NDArray[Any]:
    """One array of numbers in NumPy's format (.npy); raises StructureError."""
    try:
        return _array_of(io.BytesIO(content), num_bytes=len(content))
    except Exception as error:  # of a damaged header NumPy lets through whatever Python's parser says
        raise StructureError(f"not a NumPy array: {_first_line(error)}") from None


def _array_of(file: io.BytesIO, *, num_bytes: int) -> NDArray[Any]:
    """As `np.load`, but memory is taken for what is there and not for what the header says."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if math.prod(shape) * dtype.itemsize > num_bytes:
        raise ValueError("it is shorter than its header says")
    file.seek(0)
    return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def parse_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """All arrays of numbers in a .npz; raises StructureError."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # of zlib, zipfile, NumPy and Python's parser
        raise StructureError(f"not NumPy arrays: {_first_line(error)}") from None


def map_array(path: Path) -> NDArray[Any]:
    """A .npy file mapped and not loaded; raises StructureError, and OSError where it cannot be opened."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # as of `parse_array`
        raise StructureError(f"not a NumPy array: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
