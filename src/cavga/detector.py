"""The trained model as a user meets it: photographs in, predictions out, streaming in bounded memory."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cavga.checkpoint import load_model
from cavga.config import DEVICES, RunConfig
from cavga.data.dataset import BATCH_SIZE, NUM_DECODE_THREADS, resize
from cavga.data.images import find_images, read_image
from cavga.errors import CavgaError, DataError, ModelFileError, UsageError, unknown_name
from cavga.inference import InferenceGraph, ScoringGraph, graph_of
from cavga.model.variants import add_prior, build_parts
from cavga.presets import from_dict
from cavga.shapes import Images

Photograph = NDArray[Any]  # uint8, checked where it is used
Source = Photograph | str | Path


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one image.

    `score` is raw: compare it with `threshold`, not with 1. `anomaly_map` (float32) and `mask` (bool)
    have the model's input size; `image_size` is the photograph's own height and width.
    """

    score: float
    threshold: float
    is_anomalous: bool
    anomaly_map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    image_size: tuple[int, int]
    milliseconds: float


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be read, and why."""

    error: str


class AnomalyDetector:
    """Scores photographs with a trained model."""

    def __init__(self, graph: ScoringGraph, description: dict[str, Any], *, device: torch.device) -> None:
        self.graph = graph.to(device).eval()
        self.description = description
        self.device = device

    @classmethod
    def load(cls, run: str | Path, *, device: str = "auto") -> "AnomalyDetector":
        """The model of a run folder. Raises ModelFileError if it is missing, damaged or not one of ours."""
        tensors, description = load_model(Path(run))
        try:
            config = from_dict(description["config"])
            graph = make_graph(config, tensors)
        except (KeyError, TypeError, RuntimeError, CavgaError) as error:
            raise ModelFileError(f"{run}: model.json and model.safetensors do not fit together: {error}") from None
        return cls(graph, description, device=choose_device(device))

    @property
    def image_threshold(self) -> float:
        return float(self.graph.image_threshold)

    @property
    def pixel_threshold(self) -> float:
        return float(self.graph.pixel_threshold)

    def predict(self, images: Iterable[Source] | Source) -> Iterator[Prediction]:
        """One prediction per image, in order.

        Takes uint8 arrays (height, width, 3) in RGB, paths, a folder (searched recursively), or any
        iterable of them, and holds no more than a few batches of it. Raises DataError at an image that
        cannot be read; `results` goes on instead.
        """
        for result in self.results(_flatten(images)):
            if isinstance(result, FailedImage):
                raise DataError(result.error)
            yield result

    @property
    def has_classifier(self) -> bool:
        """Whether this is a model with classes: an s or w variant."""
        return isinstance(self.graph, InferenceGraph) and self.graph.model.classifier is not None

    def class_attention(self, photograph: Source) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A^cn and A^ca, the attention of the normal and of the anomalous class, in [0, 1] at the input size.

        Takes one uint8 array (height, width, 3) in RGB or a path; raises UsageError for a model without classifier.
        """
        if not isinstance(self.graph, InferenceGraph) or not self.has_classifier:
            raise UsageError("class attention needs a classifier: only the s and w variants have one")
        ready = _prepare(next(_flatten(photograph)), self.graph.image_size)
        if isinstance(ready, FailedImage):
            raise DataError(ready.error)
        with torch.inference_mode():
            maps = self.graph.class_attention(ready.image.to(self.device)).cpu().numpy()
        return maps[0, 0], maps[0, 1]

    def results(self, sources: Iterable[Photograph | Path]) -> Iterator[Prediction | FailedImage]:
        """As `predict`, with a FailedImage in the place of an image that cannot be read."""
        batch: list[_Ready | FailedImage] = []
        for item in self._decoded(sources):
            batch.append(item)
            if len(batch) == BATCH_SIZE:
                yield from self._score(batch)
                batch = []
        yield from self._score(batch)

    def _decoded(self, sources: Iterable[Photograph | Path]) -> "Iterator[_Ready | FailedImage]":
        """Decode and resize in threads, at most two batches ahead of the consumer."""
        waiting: deque[Future[_Ready | FailedImage]] = deque()
        with ThreadPoolExecutor(NUM_DECODE_THREADS) as pool:
            for source in sources:
                waiting.append(pool.submit(_prepare, source, self.graph.image_size))
                if len(waiting) > 2 * BATCH_SIZE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _score(self, batch: "list[_Ready | FailedImage]") -> Iterator[Prediction | FailedImage]:
        ready = [item for item in batch if isinstance(item, _Ready)]
        if not ready:
            yield from (item for item in batch if isinstance(item, FailedImage))
            return
        started = time.perf_counter()
        with torch.inference_mode():
            output = self.graph.score_images(torch.cat([item.image for item in ready]).to(self.device))
        scores, maps, masks = (value.cpu().numpy() for value in (output.score, output.anomaly_map, output.mask))
        milliseconds = (time.perf_counter() - started) * 1000 / len(ready)
        position, threshold = 0, self.image_threshold
        for item in batch:
            if isinstance(item, FailedImage):
                yield item
                continue
            score = float(scores[position])
            yield Prediction(
                score=score,
                threshold=threshold,
                is_anomalous=score >= threshold,
                anomaly_map=maps[position],
                mask=masks[position],
                image_size=item.image_size,
                milliseconds=milliseconds + item.milliseconds,
            )
            position += 1


@dataclass(frozen=True)
class _Ready:
    image: Images
    image_size: tuple[int, int]
    milliseconds: float


def make_graph(config: RunConfig, tensors: dict[str, Tensor]) -> InferenceGraph:
    """The inference graph with weights and thresholds from `tensors`."""
    bias = "projection.bias" if config.model.latent_shape == "vector" else "bias"
    mu_channels = tensors[f"model.mu_head.{bias}"].numel()
    model = build_parts(config.model, image_size=config.data.image_size, mu_channels=mu_channels)
    add_prior(model, tensors, "model.prior.")
    graph = graph_of(model, config)
    missing, unexpected = graph.load_state_dict(tensors, strict=False)
    needed = [key for key in missing if is_needed(key, config)]
    if needed or unexpected:
        raise ModelFileError(f"{len(needed)} tensors are missing and {len(unexpected)} are not the model's")
    return graph


def is_needed(key: str, config: RunConfig) -> bool:
    """Whether prediction needs the graph's tensor of this name: the decoder only for the residual."""
    if key.startswith("model.decoder."):
        return config.model.image_score == "residual"
    return not key.startswith("model.logvar_head.")


def choose_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for."""
    if name not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device was found; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _flatten(images: Iterable[Source] | Source) -> Iterator[Photograph | Path]:
    if isinstance(images, np.ndarray):
        images = list(images) if images.ndim == 4 else [images]
    elif isinstance(images, str | Path):
        images = [images]
    elif not isinstance(images, Iterable):
        raise _not_an_image(images)
    for item in images:
        if isinstance(item, np.ndarray):
            yield item
        elif not isinstance(item, str | Path):
            raise _not_an_image(item)
        elif Path(item).is_dir():
            yield from images_in(Path(item))
        else:
            yield Path(item)


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, searched recursively; raises DataError if there is none."""
    found = find_images(folder)
    if not found:
        raise DataError(f"{folder} holds no images: expected .png, .jpg, .bmp, .tif or .webp files")
    return found


def _not_an_image(item: object) -> UsageError:
    return UsageError(
        f"expected uint8 arrays of shape (height, width, 3), paths, a folder, or an iterable of them; "
        f"got {type(item).__name__}"
    )


def _prepare(source: Photograph | Path, size: tuple[int, int]) -> _Ready | FailedImage:
    started = time.perf_counter()
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            return FailedImage(f"expected a uint8 array of shape (height, width, 3), got {source.dtype} {source.shape}")
        photograph = source
    else:
        try:
            photograph = read_image(source)
        except DataError as error:
            return FailedImage(str(error))
    image = resize(torch.from_numpy(np.require(photograph, requirements=["C", "W"]))[None], size)
    height, width = photograph.shape[:2]
    return _Ready(image, (height, width), (time.perf_counter() - started) * 1000)
