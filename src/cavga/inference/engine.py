"""What runs a model: PyTorch, or the exported graph in ONNX Runtime or OpenVINO. No torch."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Photograph
from cavga.errors import ModelFileError, UsageError
from cavga.images.resize import resized
from cavga.runs.model_json import checked_description
from cavga.structured_files import StructureError, parse_json

ResizedPhotograph = NDArray[np.uint8]  # the same at the model's input size


@dataclass(frozen=True, eq=False)
class EngineOutput:
    """Of a batch: raw scores, and raw maps and masks at the model's input size."""

    scores: NDArray[np.float32]
    maps: NDArray[np.float32]
    masks: NDArray[np.bool_]


@runtime_checkable
class Engine(Protocol):
    """A model that is ready to score photographs; both thresholds belong to it."""

    image_threshold: float
    pixel_threshold: float

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the model's input."""

    def resize(self, photograph: Photograph) -> ResizedPhotograph:
        """One photograph as the model sees it; called from several threads at once."""

    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        """What the model says of a batch that `resize` has prepared."""


class ExportedEngine(ABC):
    """An exported file's graph: what its description, the model.json in its metadata, says of it is said here."""

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path, self.description = path, description
        self._loaded_in = os.getpid()
        self.image_threshold = float(description["calibration"]["image_threshold"])
        self.pixel_threshold = float(description["calibration"]["pixel_threshold"])
        height, width = description["preprocessing"]["image_size"]
        self._image_size = (int(height), int(width))

    @property
    def image_size(self) -> tuple[int, int]:
        return self._image_size

    def resize(self, photograph: Photograph) -> ResizedPhotograph:
        return resized(photograph, self._image_size)

    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        """As `Engine.score`; photographs of one size that is not the input's are resized by the graph.

        Raises ModelFileError where the runtime fails, and UsageError in a process that was forked after loading.
        """
        if os.getpid() != self._loaded_in:  # a runtime's threads stay in the parent, and it would wait for them
            raise UsageError("this detector was loaded before the process was forked: load it in the process that uses "
                             "it, or start that by multiprocessing's spawn")  # fmt: skip
        try:
            return self._run(np.stack(photographs))
        except Exception as error:  # the runtimes' own classes have no common root
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ModelFileError(f"{self.path} cannot be run: {reason}; export it again") from None

    @abstractmethod
    def _run(self, photographs: NDArray[np.uint8]) -> EngineOutput:
        """What the runtime says of a batch."""


def description_of(stated: str | None, path: Path, kind: str) -> dict[str, Any]:
    """The description in an exported file's metadata, checked; raises ModelFileError."""
    try:
        return checked_description(parse_json(stated or "", dict), path)
    except StructureError:
        raise ModelFileError(f"{path} is {kind}, but not one that `cavga export` wrote, or damaged") from None
