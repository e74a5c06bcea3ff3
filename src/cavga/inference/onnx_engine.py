"""Run an exported graph in ONNX Runtime. No torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cavga.errors import ModelFileError, UsageError
from cavga.inference.engine import EngineOutput, ExportedEngine, ResizedPhotograph
from cavga.runs.model_json import METADATA_KEY, check_version

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
QUIET = 4  # log fatal messages only: what is wrong is raised too


class OnnxEngine(ExportedEngine):
    """The graph of a `.onnx` file that `cavga export` wrote, with its thresholds as inputs."""

    def __init__(self, path: Path, device: str = "auto") -> None:
        self._session = _session(path, device)
        super().__init__(_description(self._session, path))

    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        inputs: dict[str, NDArray[Any]] = {
            "photographs": np.stack(photographs),
            "image_threshold": np.array(self.image_threshold, dtype=np.float32),
            "pixel_threshold": np.array(self.pixel_threshold, dtype=np.float32),
        }
        return EngineOutput(*self._session.run(["score", "anomaly_map", "mask"], inputs))


def _session(path: Path, device: str) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if device == "cuda" and CUDA not in available:
        raise UsageError("--device cuda: this ONNX Runtime has no CUDA: use --device cpu, or install onnxruntime-gpu")
    providers = [CUDA, CPU] if CUDA in available and device != "cpu" else [CPU]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes have no common root
        reason = str(error).splitlines()[0]
        raise ModelFileError(f"{path} cannot be read as an ONNX model: {reason}") from None


def _description(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    try:
        description = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        check_version(description, path)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} is an ONNX model, but not one that `cavga export` wrote, or damaged") from None
    return description
