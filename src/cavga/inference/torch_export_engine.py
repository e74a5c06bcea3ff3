"""Run a `torch.export` program (.pt2). Reading one can run any program that was put into it: torch unpickles it."""

import io

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.errors import ModelFileError
from cavga.inference.engine import EngineOutput, ExportedEngine, description_of
from cavga.inference.exported_files import ExportedFiles
from cavga.runs.model_json import METADATA_KEY


class ProgramEngine(ExportedEngine):
    """The graph of a `.pt2` file that `cavga export` wrote, on the processor."""

    def __init__(self, files: ExportedFiles) -> None:
        extra = {METADATA_KEY: ""}
        try:
            self._module = torch.export.load(io.BytesIO(files.content), extra_files=extra).module()
        except Exception as error:  # of zip, pickle, and whatever torch makes of what is in it
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelFileError(f"{files.path} is no program that `cavga export` wrote: {reason}") from None
        super().__init__(files.path, description_of(extra[METADATA_KEY], files.path, "a torch.export program"))

    def _run(self, photographs: NDArray[np.uint8]) -> EngineOutput:
        thresholds = (torch.tensor(self.image_threshold), torch.tensor(self.pixel_threshold))
        with torch.inference_mode():
            scores, _, maps, masks = self._module(torch.from_numpy(photographs), *thresholds)
        return EngineOutput(scores.numpy(), maps.numpy(), masks.numpy())
