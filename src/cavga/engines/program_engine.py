"""Run a `torch.export` program (.pt2)."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cavga.engines.engine import Photograph, ResizedPhotograph, Scored
from cavga.errors import ModelFileError
from cavga.model_file import METADATA_KEY, check_exported, check_version
from cavga.resizing import resized


class ProgramEngine:
    """The graph of a `.pt2` file that `cavga export` wrote, on the processor."""

    def __init__(self, path: Path) -> None:
        check_exported(path)
        extra = {METADATA_KEY: ""}
        try:
            program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            self.description: dict[str, Any] = json.loads(extra[METADATA_KEY])
            check_version(self.description, path)
        except (RuntimeError, ValueError, KeyError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelFileError(f"{path} is no program that `cavga export` wrote: {reason}") from None
        self._module = program.module()
        calibration = self.description["calibration"]
        self.image_threshold = float(calibration["image_threshold"])
        self.pixel_threshold = float(calibration["pixel_threshold"])
        height, width = self.description["preprocessing"]["image_size"]
        self._image_size = (int(height), int(width))

    @property
    def image_size(self) -> tuple[int, int]:
        return self._image_size

    def resize(self, photograph: Photograph) -> ResizedPhotograph:
        return resized(photograph, self._image_size)

    def score(self, photographs: Sequence[ResizedPhotograph]) -> Scored:
        thresholds = (torch.tensor(self.image_threshold), torch.tensor(self.pixel_threshold))
        with torch.inference_mode():
            scores, _, maps, masks = self._module(torch.from_numpy(np.stack(photographs)), *thresholds)
        return Scored(scores.numpy(), maps.numpy(), masks.numpy())
