"""What writes each format of `cavga.inference.exported_formats`, whose table says everything else of it."""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from cavga.arrays import Photograph
from cavga.errors import MissingExtraError
from cavga.exporting.trace import onnx_model, torch_program
from cavga.inference.graph import InferenceGraph
from cavga.inference.seal import sealed_onnx, sealed_xml
from cavga.runs.model_json import METADATA_KEY, ONNX_FILE


@dataclass(frozen=True, eq=False)
class Exportable:
    """A trained model, as a writer takes it; INT8 measures its ranges on photographs."""

    graph: InferenceGraph
    description: Mapping[str, Any]
    precision: str
    measured: Iterable[Photograph]


def _as_onnx(model: Exportable) -> onnx.ModelProto:
    written = onnx_model(model.graph, model.description, in_half=model.precision == "fp16")
    if model.precision != "int8":
        return written
    from cavga.exporting.quantize import quantized

    return quantized(written, model.measured)


def write_onnx(path: Path, model: Exportable) -> None:
    """One ONNX file."""
    path.write_bytes(sealed_onnx(_as_onnx(model).SerializeToString()))


def write_openvino(path: Path, model: Exportable) -> None:
    """Two files, by way of ONNX."""
    written = _as_onnx(model)
    try:
        import openvino
    except ImportError:
        raise MissingExtraError(f"{path} needs openvino: pip install 'cavga[openvino]'") from None

    with tempfile.TemporaryDirectory(prefix="cavga-") as scratch:
        onnx.save(written, Path(scratch) / ONNX_FILE)
        converted = openvino.convert_model(Path(scratch) / ONNX_FILE)
    converted.set_rt_info(json.dumps(model.description, sort_keys=True), [METADATA_KEY])
    openvino.save_model(converted, path, compress_to_fp16=False)
    path.write_bytes(sealed_xml(path.read_bytes(), path.with_suffix(".bin").read_bytes()))


def write_torch(path: Path, model: Exportable) -> None:
    """One `torch.export` program."""
    path.write_bytes(torch_program(model.graph, model.description))


WRITERS: dict[str, Callable[[Path, Exportable], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "torch": write_torch,
}
