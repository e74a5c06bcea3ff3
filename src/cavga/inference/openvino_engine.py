"""Run an exported graph in OpenVINO. No torch."""

import numpy as np
from numpy.typing import NDArray

from cavga.errors import MissingExtraError, ModelFileError
from cavga.inference.engine import EngineOutput, ExportedEngine, description_of
from cavga.inference.exported_files import ExportedFiles
from cavga.runs.model_json import METADATA_KEY


class OpenvinoEngine(ExportedEngine):
    """The graph of an `.xml` file (with its `.bin` beside it) that `cavga export` wrote.

    OpenVINO knows no inputs with defaults: the thresholds are set here, on raw scores and maps.
    """

    def __init__(self, files: ExportedFiles) -> None:
        try:
            import openvino
        except ModuleNotFoundError:
            raise MissingExtraError(f"{files.path} needs openvino: pip install 'cavga[openvino]'") from None
        # Its default on processors that have bf16 is bf16, and sums of squares need their digits.
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        try:
            model = openvino.Core().read_model(model=files.content, weights=files.companion)
            stated = model.get_rt_info([METADATA_KEY]).astype(str)
            self._compiled = openvino.compile_model(model, "CPU", settings)
        except Exception as error:  # RuntimeError, and what its Python side lets through
            reason = next(iter(str(error).strip().splitlines()[::-1]), type(error).__name__)
            raise ModelFileError(f"{files.path} is no OpenVINO model that `cavga export` wrote: {reason}") from None
        super().__init__(files.path, description_of(stated, files.path, "an OpenVINO model"))

    def _run(self, photographs: NDArray[np.uint8]) -> EngineOutput:
        result = self._compiled({"photographs": photographs})
        scores, maps = (np.array(result[name]) for name in ("score", "anomaly_map"))
        return EngineOutput(scores, maps, maps >= np.float32(self.pixel_threshold))
