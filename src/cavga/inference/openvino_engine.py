"""Run an exported graph in OpenVINO. No torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cavga.errors import MissingExtraError, ModelFileError
from cavga.inference.engine import EngineOutput, ExportedEngine, ResizedPhotograph
from cavga.runs.model_json import METADATA_KEY, check_version


class OpenvinoEngine(ExportedEngine):
    """The graph of an `.xml` file (with its `.bin` beside it) that `cavga export` wrote.

    OpenVINO knows no inputs with defaults: the thresholds are set here, on raw scores and maps.
    """

    def __init__(self, path: Path) -> None:
        try:
            import openvino
        except ModuleNotFoundError:
            raise MissingExtraError(f"{path} needs openvino: pip install 'cavga[openvino]'") from None
        try:
            model = openvino.Core().read_model(path)
            description: dict[str, Any] = json.loads(model.get_rt_info([METADATA_KEY]).astype(str))
            check_version(description, path)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelFileError(f"{path} is no OpenVINO model that `cavga export` wrote: {reason}") from None
        # Its default on processors that have bf16 is bf16, and sums of squares need their digits.
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        self._compiled = openvino.compile_model(model, "CPU", settings)
        super().__init__(description)

    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        result = self._compiled({"photographs": np.stack(photographs)})
        scores, maps = (np.array(result[name]) for name in ("score", "anomaly_map"))
        return EngineOutput(scores, maps, maps >= np.float32(self.pixel_threshold))
