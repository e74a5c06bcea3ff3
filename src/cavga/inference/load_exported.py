"""The engine of an exported file, by its suffix. No torch but for `.pt2`."""

from pathlib import Path

from cavga.errors import UsageError
from cavga.inference.engine import ExportedEngine
from cavga.runs.model_json import check_exported


def load_exported(path: Path, device: str) -> ExportedEngine:
    """What runs a file that `cavga export` wrote.

    Raises ModelFileError if it is missing, damaged or not one of ours, MissingExtraError without its runtime, and
    UsageError for a device that it cannot run on.
    """
    suffix = path.suffix.lower()
    if suffix != ".onnx" and device == "cuda":
        raise UsageError(
            f"--device cuda: a {suffix} file runs on the processor here; use the run folder or an .onnx file"
        )
    check_exported(path)
    if suffix == ".xml":
        from cavga.inference.openvino_engine import OpenvinoEngine

        return OpenvinoEngine(path)
    if suffix == ".pt2":
        from cavga.inference.torch_export_engine import ProgramEngine

        return ProgramEngine(path)
    from cavga.inference.onnx_engine import OnnxEngine

    return OnnxEngine(path, device)
