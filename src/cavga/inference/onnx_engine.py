"""Run an exported graph in ONNX Runtime. No torch."""

import os
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cavga.errors import ModelFileError, UsageError
from cavga.inference.engine import EngineOutput, ExportedEngine, description_of
from cavga.inference.exported_files import ExportedFiles
from cavga.runs.model_json import METADATA_KEY
from cavga.threads import runtime_threads

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
QUIET = 4  # log fatal messages only: what is wrong is raised too
MOST_CONCURRENT = 4
_imported_in = os.getpid()


class OnnxEngine(ExportedEngine):
    """The graph of a `.onnx` file that `cavga export` wrote, with its thresholds as inputs."""

    def __init__(self, files: ExportedFiles, device: str = "auto") -> None:
        self._session = _session(files, device)
        stated = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        super().__init__(files.path, description_of(stated, files.path, "an ONNX model"))

    @property
    def concurrent_batches(self) -> int:
        """How many batches are worth being scored at once: a processor's cores are not all busy with one."""
        return 1 if CUDA in self._session.get_providers() else MOST_CONCURRENT

    def _run(self, photographs: NDArray[np.uint8]) -> EngineOutput:
        inputs: dict[str, NDArray[Any]] = {
            "photographs": photographs,
            "image_threshold": np.array(self.image_threshold, dtype=np.float32),
            "pixel_threshold": np.array(self.pixel_threshold, dtype=np.float32),
        }
        return EngineOutput(*self._session.run(["score", "anomaly_map", "mask"], inputs))


def _session(files: ExportedFiles, device: str) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if device == "cuda" and CUDA not in available:
        raise UsageError("device cuda: this ONNX Runtime has no CUDA: use device cpu, or install onnxruntime-gpu")
    providers = [CUDA, CPU] if CUDA in available and device != "cpu" else [CPU]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = runtime_threads()
    # Threads that wait by spinning take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if os.getpid() != _imported_in:  # forked: a second thread would wait for what only the parent has
        options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(files.content, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own classes have no common root
        reason = str(error).splitlines()[0]
        raise ModelFileError(f"{files.path} cannot be read as an ONNX model: {reason}") from None
