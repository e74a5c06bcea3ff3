"""The models of many categories in one process: each image goes to its own, and all through one encoder."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cavga.config.presets import from_dict
from cavga.errors import ModelFileError, UsageError
from cavga.images.prefetch import prefetch
from cavga.images.torch_resize import as_images
from cavga.images.walk import subfolders
from cavga.inference.detector import AnomalyDetector, with_new_thresholds
from cavga.inference.engine import EngineOutput
from cavga.inference.graph import InferenceGraph
from cavga.inference.prepare import DecodedImage, FailedImage
from cavga.inference.torch_engine import TorchEngine, choose_device, make_graph
from cavga.model.arithmetic import exact_float32
from cavga.model.encoder import Encoder
from cavga.runs.model_json import MODEL_FILE
from cavga.scale.packed import SUFFIX, load_encoder_tensors, load_packed
from cavga.scale.score_lists import Scored, batch_size, read_item
from cavga.scale.work_list import PACKED_FOLDER, Item

MAX_HELD = 1024  # packed models, each of about 2 MB
MAX_BUILT = 64  # modules made of them, each of twice that; more than two batches and a half of single images need


@dataclass(frozen=True)
class _Ready:
    item: Item
    image: DecodedImage | FailedImage
    detector: AnomalyDetector


class RoutedModels:
    """Scores every image by the model of its category: those packed in RUNS/packed, others from RUNS/CATEGORY."""

    def __init__(self, runs: Path, device: str = "auto") -> None:
        self._runs, self._device = runs, choose_device(device)
        packed = {path.name.removesuffix(SUFFIX) for path in (runs / PACKED_FOLDER).glob(f"*{SUFFIX}")}
        whole = {folder.name for folder in subfolders(runs) if (folder / MODEL_FILE).is_file()} - packed
        if not packed | whole:
            raise UsageError(f"{runs} holds no models: expected what `cavga train --categories` writes")
        self._packed, self._whole = packed, whole
        self._encoders: dict[str, Encoder] = {}
        self._held = lru_cache(MAX_HELD)(partial(load_packed, runs))
        self._built = lru_cache(MAX_BUILT)(self._build)

    def detector_of(self, category: str | None) -> AnomalyDetector | None:
        """The model of a category; None where there is none."""
        return self._built(category) if category in self._packed | self._whole and category is not None else None

    def results(self, items: Sequence[Item]) -> Iterator[Scored]:
        """As `Scorer.results`: what can go through the encoder together comes together."""
        known = self._packed | self._whole
        for item in items:
            if item.category not in known:
                named = (
                    "no category" if item.category is None else f"category {item.category}, of which there is no model"
                )
                yield Scored(item, FailedImage(f"{item.key}: {named} in {self._runs}"), None)
        there = sorted((item for item in items if item.category in known), key=self._order)
        for _, together in groupby(there, key=lambda item: self._order(item)[0]):
            yield from self._results_together(list(together))

    def _order(self, item: Item) -> tuple[tuple[Any, ...], str, str]:
        """What goes together: images of one encoder and size; a model that is not packed is alone."""
        category = item.category or ""
        if category in self._whole:
            return ("", category), category, item.key
        description = self._held(category)[1]
        size, stages = description["preprocessing"]["image_size"], description["config"]["model"]["stages"]
        return (description["encoder_sha256"], *size, *stages), category, item.key

    def _results_together(self, items: Sequence[Item]) -> Iterator[Scored]:
        first = self._built(items[0].category or "")
        size = batch_size(first)
        ready = prefetch(((item, self._built(item.category or "")) for item in items), _ready, most=2 * size)
        while batch := list(islice(ready, size)):
            if items[0].category in self._whole:
                scored = first.score([one.image for one in batch])
                yield from (Scored(one.item, result, first) for one, result in zip(batch, scored, strict=True))
            else:
                yield from self._score(batch)

    def _score(self, batch: Sequence[_Ready]) -> Iterator[Scored]:
        """One pass of the encoder, then the heads of each category."""
        started = time.perf_counter()
        pixels = [one.image.photograph for one in batch if isinstance(one.image, DecodedImage)]
        shared = self._through_encoder(pixels, batch[0].detector) if pixels else None
        milliseconds, position = (time.perf_counter() - started) * 1000 / max(1, len(pixels)), 0
        for _, found in groupby(batch, key=lambda one: one.item.category):
            of_one = list(found)
            count = sum(isinstance(one.image, DecodedImage) for one in of_one)
            detector, images = of_one[0].detector, [one.image for one in of_one]
            if shared is None or not count:
                yield from (Scored(one.item, one.image, None) for one in of_one if isinstance(one.image, FailedImage))
                continue
            output = _through_heads(detector, *shared, slice(position, position + count))
            position += count
            results = detector.predictions(images, output, milliseconds)
            yield from (Scored(one.item, result, detector) for one, result in zip(of_one, results, strict=True))

    def _through_encoder(self, pixels: Sequence[Any], detector: AnomalyDetector) -> tuple[Tensor, list[Tensor]]:
        with torch.inference_mode(), exact_float32():
            images = as_images(torch.from_numpy(np.stack(pixels)).to(self._device))
            return images, _graph(detector).model.encode_stages(images)

    def _build(self, category: str) -> AnomalyDetector:
        if category in self._whole:
            return AnomalyDetector.load(self._runs / category, device=self._device.type)
        tensors, description = self._held(category)
        config, sha256 = from_dict(description["config"]), description["encoder_sha256"]
        own = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}
        encoder = self._encoders.get(sha256)
        if encoder is None:
            own |= load_encoder_tensors(self._runs, sha256)
        try:
            graph = make_graph(config, own, encoder)
        except (KeyError, RuntimeError) as error:
            raise ModelFileError(f"{self._runs}/{PACKED_FOLDER}/{category}{SUFFIX} does not fit: {error}") from None
        self._encoders.setdefault(sha256, graph.model.encoder)
        detector = AnomalyDetector(TorchEngine(graph, self._device), description)
        return with_new_thresholds(detector, self._runs / category)


def _ready(item_and_detector: tuple[Item, AnomalyDetector]) -> _Ready:
    item, detector = item_and_detector
    return _Ready(item, read_item(item, detector), detector)


def _graph(detector: AnomalyDetector) -> InferenceGraph:
    assert isinstance(detector.engine, TorchEngine)
    assert isinstance(detector.engine.graph, InferenceGraph)
    return detector.engine.graph


def _through_heads(detector: AnomalyDetector, images: Tensor, stages: list[Tensor], mine: slice) -> EngineOutput:
    with torch.inference_mode(), exact_float32():
        output = _graph(detector).score_stages([stage[mine] for stage in stages], images=images[mine])
    return EngineOutput(*(value.cpu().numpy() for value in (output.score, output.anomaly_map, output.mask)))
