"""What runs a model: PyTorch, or the exported graph in ONNX Runtime or OpenVINO. No torch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Photograph
from cavga.images.resize import resized

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

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.image_threshold = float(description["calibration"]["image_threshold"])
        self.pixel_threshold = float(description["calibration"]["pixel_threshold"])
        height, width = description["preprocessing"]["image_size"]
        self._image_size = (int(height), int(width))

    @property
    def image_size(self) -> tuple[int, int]:
        return self._image_size

    def resize(self, photograph: Photograph) -> ResizedPhotograph:
        return resized(photograph, self._image_size)

    @abstractmethod
    def score(self, photographs: Sequence[ResizedPhotograph]) -> EngineOutput:
        """As `Engine.score`; photographs of one size that is not the input's are resized by the graph."""
