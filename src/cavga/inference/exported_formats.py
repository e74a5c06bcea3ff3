"""One table of the formats of exported files: name, suffix, precisions, and the engine that runs them. No torch.

What writes each is in `cavga.exporting.writers`, for exporting takes torch and running need not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cavga.inference.engine import ExportedEngine
    from cavga.inference.exported_files import ExportedFiles


def _onnx(files: "ExportedFiles", device: str) -> "ExportedEngine":
    from cavga.inference.onnx_engine import OnnxEngine

    return OnnxEngine(files, device)


def _openvino(files: "ExportedFiles", _device: str) -> "ExportedEngine":
    from cavga.inference.openvino_engine import OpenvinoEngine

    return OpenvinoEngine(files)


def _torch(files: "ExportedFiles", _device: str) -> "ExportedEngine":
    from cavga.inference.torch_export_engine import ProgramEngine

    return ProgramEngine(files)


@dataclass(frozen=True)
class ExportFormat:
    """One format of `cavga export`."""

    suffix: str
    precisions: tuple[str, ...]
    engine: Callable[["ExportedFiles", str], "ExportedEngine"]
    """Of a file and a device."""
    runs_on_gpu: bool = False
    runs_code: bool = False
    """Whether reading a file can run a program that was put into it."""
    companion: str | None = None
    """The suffix of a second file beside it, without which it is nothing."""
    title: str = ""
    """What a model of two files is called where one is missing."""


FORMATS = {
    "onnx": ExportFormat(".onnx", ("fp32", "fp16", "int8"), _onnx, runs_on_gpu=True),
    "openvino": ExportFormat(".xml", ("fp32", "int8"), _openvino, companion=".bin", title="an OpenVINO model"),
    "torch": ExportFormat(".pt2", ("fp32",), _torch, runs_code=True),
}
FOLDERS = ("triton", "mlflow")  # that other servers take, with an ONNX file in them (cavga.exporting.packages)
PRECISIONS = tuple(dict.fromkeys(precision for found in FORMATS.values() for precision in found.precisions))
*_FIRST, _LAST = (found.suffix for found in FORMATS.values())
LISTED_SUFFIXES = f"{', '.join(_FIRST)} or {_LAST}"  # ".onnx, .xml or .pt2"


def format_of(path: Path) -> ExportFormat | None:
    """The format of a file by its suffix; None if it is no exported file's."""
    return next((found for found in FORMATS.values() if found.suffix == path.suffix.lower()), None)
