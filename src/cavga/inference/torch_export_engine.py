"""Run a `torch.export` program (.pt2)."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cavga.errors import ModelFileError
from cavga.inference.engine import EngineOutput, ExportedEngine, ResizedPhotograph
from cavga.runs.model_json import METADATA_KEY, check_version


class ProgramEngine(ExportedEngine):
    """The graph of a `.pt2` file that `cavga export` wrote, on the processor."""

    def __init__(self, path: Path) -> None:
        extra = {METADATA_KEY: ""}
        try:
            program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            description: dict[str, Any] = json.loads(extra[METADATA_KEY])
            check_version(description, path)
        except (RuntimeError, ValueError, KeyError, AssertionError, zipfile.BadZipFile) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelFileError(f"{path} is no program that `cavga export` wrote: {reason}") from None
        self._module = program.module()
        super().__init__(description)

    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        thresholds = (torch.tensor(self.image_threshold), torch.tensor(self.pixel_threshold))
        with torch.inference_mode():
            scores, _, maps, masks = self._module(torch.from_numpy(np.stack(photographs)), *thresholds)
        return EngineOutput(scores.numpy(), maps.numpy(), masks.numpy())
