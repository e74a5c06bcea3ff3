"""Tensors of the Open Inference Protocol (version 2), in JSON and in its binary extension."""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cavga.service.refusals import RefusedError, unusable
from cavga.service.uploads import decoded_base64, json_body

LENGTH_HEADER = "inference-header-content-length"  # bytes of JSON, after which the binary tensors follow
PHOTOGRAPHS, FILES = "photographs", "image"  # inputs: uint8 RGB of one size, or image files
MAX_IMAGES = 64  # of one request
OUTPUTS = {"score": "FP32", "is_anomalous": "BOOL", "anomaly_map": "FP32", "mask": "BOOL"}
_KINDS = {"UINT8": PHOTOGRAPHS, "BYTES": FILES}
_DTYPES = {"FP32": "<f4", "BOOL": "|b1"}


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] = []
    parameters: dict[str, Any] = {}


@dataclass(frozen=True, eq=False)
class InferRequest:
    """What one request asks for: photographs or files, and outputs by name with whether each is to be binary."""

    id: str
    photographs: Sequence[NDArray[np.uint8]]
    files: Sequence[bytes]
    outputs: dict[str, bool]
    threshold: float | None


def read_request(body: bytes, header_length: str | None, max_pixels: int) -> InferRequest:
    """The request in a body; raises RefusedError."""
    length = len(body) if header_length is None else int(header_length) if header_length.isdecimal() else -1
    if not 0 <= length <= len(body):
        raise _wrong(f"the header {LENGTH_HEADER} says {str(header_length)[:20]}, the body has {len(body)} bytes")
    found: _Request = json_body(body[:length], _Request)
    if len(found.inputs) != 1 or _KINDS.get(found.inputs[0].datatype) != found.inputs[0].name:
        raise _wrong(f"expected one input: {PHOTOGRAPHS} of UINT8, or {FILES} of BYTES")
    tensor, binary = found.inputs[0], body[length:]
    if found.inputs[0].parameters.get("binary_data_size", 0) != len(binary):
        raise _wrong(f"{tensor.name}: binary_data_size has to be the bytes behind the JSON, which are {len(binary)}")
    is_binary = "binary_data_size" in tensor.parameters
    photographs: Sequence[NDArray[np.uint8]] = ()
    files: Sequence[bytes] = ()
    if tensor.name == PHOTOGRAPHS:
        photographs = list(_photographs(tensor, binary if is_binary else None, max_pixels))
    else:
        files = _files(tensor, binary if is_binary else None)
    return InferRequest(found.id, photographs, files, _outputs(found), _threshold(found))


def answer_body(
    request: InferRequest, model: str, tensors: dict[str, NDArray[Any]]
) -> tuple[bytes, dict[str, str], str]:
    """The body of an answer, its headers, and its media type."""
    outputs, binary = [], b""
    for name, is_binary in request.outputs.items():
        values = np.ascontiguousarray(tensors[name], dtype=_DTYPES[OUTPUTS[name]])
        entry: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": list(values.shape)}
        if is_binary:
            content = values.tobytes()
            binary += content
            entry["parameters"] = {"binary_data_size": len(content)}
        else:
            entry["data"] = values.ravel().tolist()
        outputs.append(entry)
    answer = {"model_name": model, "model_version": "1", "outputs": outputs}
    answer |= {"id": request.id} if request.id else {}
    text = json.dumps(answer, allow_nan=False).encode()
    if not any(request.outputs.values()):
        return text, {}, "application/json"
    return text + binary, {LENGTH_HEADER: str(len(text))}, "application/octet-stream"


def _outputs(found: _Request) -> dict[str, bool]:
    usual = found.parameters.get("binary_data_output") is True
    if not found.outputs:
        return dict.fromkeys(OUTPUTS, usual)
    unknown = [output.name for output in found.outputs if output.name not in OUTPUTS]
    if unknown:
        raise _wrong(f"unknown output {unknown[0][:40]!r}: expected {', '.join(OUTPUTS)}")
    return {output.name: output.parameters.get("binary_data", usual) is True for output in found.outputs}


def _threshold(found: _Request) -> float | None:
    value = found.parameters.get("threshold")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong("parameter threshold: expected a finite number")
    return float(value)


def _photographs(tensor: _Input, binary: bytes | None, max_pixels: int) -> NDArray[np.uint8]:
    shape = tensor.shape
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
        raise _wrong(f"{PHOTOGRAPHS}: expected shape [photographs, height, width, 3], got {shape[:8]}")
    count, height, width, _ = shape
    if height * width > max_pixels:
        raise unusable(f"{PHOTOGRAPHS}: {width} x {height} px, more than {max_pixels / 1e6:g} million", "pixels", 413)
    _check_count(count)
    values = _numbers(tensor) if binary is None else np.frombuffer(binary, dtype=np.uint8)
    if values.size != math.prod(shape):
        raise _wrong(f"{PHOTOGRAPHS}: shape {shape} has {math.prod(shape)} values, found {values.size}")
    return values.reshape(shape)


def _numbers(tensor: _Input) -> NDArray[np.uint8]:
    """Whole numbers from 0 to 255 of JSON, nested or not."""
    try:
        values = np.asarray(tensor.data)
    except (ValueError, TypeError, OverflowError, RecursionError):
        values = np.array(None)
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise _wrong(f"{tensor.name}: expected data of whole numbers from 0 to 255")
    return values.astype(np.uint8).ravel()


def _files(tensor: _Input, binary: bytes | None) -> list[bytes]:
    count = math.prod(tensor.shape) if tensor.shape and min(tensor.shape) > 0 else 0
    _check_count(count)
    if binary is None:
        given = tensor.data or []
        if not all(isinstance(text, str) for text in given):
            raise _wrong(f"{FILES}: expected data of texts in base64")
        files = [decoded_base64(text, FILES) for text in given]
    else:
        files = _parts(binary)
    if len(files) != count:
        raise _wrong(f"{FILES}: shape {tensor.shape} has {count} files, found {len(files)}")
    return files


def _parts(binary: bytes) -> list[bytes]:
    """Each of BYTES is its length in four bytes, and its content."""
    files, start = [], 0
    while start < len(binary):
        if start + 4 > len(binary):
            raise _wrong(f"{FILES}: the binary data ends within a length")
        (length,) = struct.unpack_from("<I", binary, start)
        end = start + 4 + length
        if end > len(binary):
            raise _wrong(f"{FILES}: the binary data ends within a file")
        files.append(binary[start + 4 : end])
        start = end
    return files


def _check_count(count: int) -> None:
    if count < 1:
        raise _wrong("expected at least one image")
    if count > MAX_IMAGES:
        raise unusable(f"expected at most {MAX_IMAGES} images in one request, got {count}", "images", 413)


def _wrong(message: str) -> RefusedError:
    return unusable(message, "tensor", 400)
