"""From photographs to predictions: decoding in threads, batches, and the engine that scores them. No torch."""

import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Array
from cavga.calibration.stored import load_thresholds
from cavga.config.schema import DEVICES
from cavga.errors import DataError, MissingExtraError, ModelFileError, UsageError, unknown_name
from cavga.images.decode import BATCH_SIZE, NUM_DECODE_THREADS
from cavga.images.prefetch import prefetch
from cavga.images.regions import Region, find_regions
from cavga.images.tiling import Tiling, tiling_of
from cavga.images.walk import images_in
from cavga.inference.engine import Engine
from cavga.inference.exported_formats import LISTED_SUFFIXES, format_of
from cavga.inference.load_exported import load_exported
from cavga.inference.prepare import DecodedImage, FailedImage, prepare, read, too_large
from cavga.runs.model_json import ONNX_FILE, load_description

Source = Array | str | Path


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model says of one image.

    `score` is raw: compare it with `threshold`, not with 1. `anomaly_map` (float32) and `mask` (bool)
    have the model's input size; `image_size` is the photograph's own height and width. Of a model with tiles or a
    region of interest they have the frame of the whole photograph, as many pixels for each of its as in a tile
    (cavga.images.tiling); outside the region the map is as low as inside, at most 0, and nothing is masked. `path` is
    the photograph's file, None for an array.
    """

    score: float
    threshold: float
    is_anomalous: bool
    anomaly_map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    image_size: tuple[int, int]
    milliseconds: float
    path: Path | None = None
    remarks: tuple[str, ...] = ()
    """What is to be said of how the file was read: further pages, another range of greys."""

    def regions(self) -> list[Region]:
        """The regions of the mask in pixels of the photograph, the largest score first; found anew at each call."""
        return find_regions(self.mask, self.anomaly_map, self.image_size)


class AnomalyDetector:
    """Scores photographs with a trained model."""

    def __init__(self, engine: Engine, description: dict[str, Any], tiling: Tiling | None = None) -> None:
        self.engine, self.description = engine, description
        self.tiling = tiling or tiling_of(description, engine.image_size)

    @classmethod
    def load(cls, model: str | Path, *, device: str = "auto") -> "AnomalyDetector":
        """The model of a run folder or of an exported file, with the thresholds of `cavga calibrate` if there are any.

        A run's exported graph is used where there is one, and PyTorch where there is a GPU or no exported graph.
        Raises ModelFileError if the model or its calibration.json is missing, damaged or not one of ours,
        MissingExtraError if it takes torch and there is none.
        """
        return _with_new_thresholds(cls.load_as_trained(model, device=device), Path(model))

    @classmethod
    def load_as_trained(cls, model: str | Path, *, device: str = "auto") -> "AnomalyDetector":
        """As `load`, with the model's own thresholds: those of its training, or that it was exported with."""
        path = Path(model)
        if device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        if format_of(path) is not None:
            return _exported(path, device)
        if path.is_file():
            raise ModelFileError(f"expected a run folder or an exported {LISTED_SUFFIXES} file, found {path}")
        if (path / ONNX_FILE).is_file() and not _may_use_gpu(device):
            return _exported_of_run(path, device)
        return _run_in_torch(path, device)

    @classmethod
    def load_in_torch(cls, run: str | Path, *, device: str = "auto") -> "AnomalyDetector":
        """As `load`, a run folder in PyTorch: for a GPU, and for what an exported graph does not hold."""
        return _with_new_thresholds(_run_in_torch(Path(run), device), Path(run))

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the model's input, and of maps and masks without tiles or a region of interest."""
        return self.engine.image_size

    @property
    def image_threshold(self) -> float:
        return self.engine.image_threshold

    @property
    def pixel_threshold(self) -> float:
        return self.engine.pixel_threshold

    def predict(self, images: Iterable[Source] | Source) -> Iterator[Prediction]:
        """One prediction per image, in order.

        Takes uint8 arrays (height, width, 3) in RGB, paths, a folder (searched recursively), or any
        iterable of them, and holds no more than a few batches of it. An image that cannot be read raises
        DataError and ends the iteration: for folders of which that may be so take `results`, which goes on.
        """
        for result in self.results(images):
            if isinstance(result, FailedImage):
                raise DataError(result.error)
            yield result

    def class_attention(self, photograph: Source) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A^cn and A^ca, the attention of the normal and of the anomalous class, in [0, 1] at the input size.

        Takes one uint8 array (height, width, 3) in RGB or a path; of a region of interest they are its rectangle's.
        Raises UsageError for a model without classifier, for one with tiles, and for an exported graph, which does
        not hold them.
        """
        if self.tiling.tile is not None:
            raise UsageError("class attention is of one image as the model sees it: this model sees tiles")
        explain = getattr(self.engine, "class_attention", None)
        if explain is None:
            raise UsageError("an exported graph holds no class attention: use AnomalyDetector.load_in_torch(RUN)")
        ready = prepare(next(_flatten(photograph)), self.engine, self.tiling)
        if isinstance(ready, FailedImage):
            raise DataError(ready.error)
        return explain(ready.photograph)

    def results(self, images: Iterable[Source] | Source) -> Iterator[Prediction | FailedImage]:
        """As `predict`, with a FailedImage (`error`, `path`) in the place of an image that cannot be read."""
        sources = _flatten(images)
        if self.tiling.tile is not None:
            yield from self._results_of_tiles(sources)
            return
        batch: list[DecodedImage | FailedImage] = []
        ready = partial(prepare, engine=self.engine, tiling=self.tiling)
        for item in prefetch(sources, ready, most=2 * BATCH_SIZE):
            batch.append(item)
            if len(batch) == BATCH_SIZE:
                yield from self._score(batch)
                batch = []
        yield from self._score(batch)

    def _results_of_tiles(self, sources: Iterable[Array | Path]) -> Iterator[Prediction | FailedImage]:
        """One photograph after the other, the next one decoded meanwhile: large ones do not fit in dozens."""
        with ThreadPoolExecutor(NUM_DECODE_THREADS) as pool:
            for item in prefetch(sources, partial(read, tiling=self.tiling), most=1):
                if isinstance(item, FailedImage):
                    yield item
                    continue
                try:
                    yield self._score_tiles(item, pool)
                except MemoryError:
                    yield too_large(item)

    def _score_tiles(self, photograph: DecodedImage, pool: ThreadPoolExecutor) -> Prediction:
        """Cut, resize and score a batch of tiles at a time; the map grows as they come."""
        started = time.perf_counter()
        layout, scores = self.tiling.layout(photograph.size), []

        def maps() -> Iterator[NDArray[np.float32]]:
            tiles = self.tiling.tiles(photograph.photograph)
            while batch := list(islice(tiles, BATCH_SIZE)):
                scored = self.engine.score(list(pool.map(self.engine.resize, batch)))
                scores.append(float(scored.scores.max()))
                yield from scored.maps

        anomaly_map = layout.stitch(maps())
        mask, score, threshold = layout.mask(anomaly_map, self.pixel_threshold), max(scores), self.image_threshold
        milliseconds = (time.perf_counter() - started) * 1000 + photograph.milliseconds
        is_anomalous, size, path = score >= threshold, photograph.size, photograph.path
        return Prediction(
            score, threshold, is_anomalous, anomaly_map, mask, size, milliseconds, path, photograph.remarks
        )

    def _score(self, batch: list[DecodedImage | FailedImage]) -> Iterator[Prediction | FailedImage]:
        ready = [item for item in batch if isinstance(item, DecodedImage)]
        if not ready:
            yield from (item for item in batch if isinstance(item, FailedImage))
            return
        started = time.perf_counter()
        scored = self.engine.score([item.photograph for item in ready])
        milliseconds = (time.perf_counter() - started) * 1000 / len(ready)
        position, threshold = 0, self.image_threshold
        for item in batch:
            if isinstance(item, FailedImage):
                yield item
                continue
            anomaly_map, mask = scored.maps[position], scored.masks[position]
            if not self.tiling.is_plain:
                layout = self.tiling.layout(item.size)
                anomaly_map = layout.stitch([anomaly_map])
                mask = layout.mask(anomaly_map, self.pixel_threshold)
            score = float(scored.scores[position])
            yield Prediction(
                score=score,
                threshold=threshold,
                is_anomalous=score >= threshold,
                anomaly_map=anomaly_map,
                mask=mask,
                image_size=item.size,
                milliseconds=milliseconds + item.milliseconds,
                path=item.path,
                remarks=item.remarks,
            )
            position += 1


def _exported(path: Path, device: str) -> AnomalyDetector:
    engine = load_exported(path, device)
    return AnomalyDetector(engine, engine.description)


def _exported_of_run(run: Path, device: str) -> AnomalyDetector:
    """The exported graph of a run folder, which has to be the run's own."""
    description, detector = load_description(run), _exported(run / ONNX_FILE, device)
    if detector.description["weights_sha256"] != description["weights_sha256"]:
        raise ModelFileError(
            f"{run / ONNX_FILE} is not of this run's weights: `cavga export {run}` writes it again, or remove it"
        )
    # Its own may be others: it was exported while others were in force.
    detector.engine.image_threshold = description["calibration"]["image_threshold"]
    detector.engine.pixel_threshold = description["calibration"]["pixel_threshold"]
    return AnomalyDetector(detector.engine, description)


def _run_in_torch(run: Path, device: str) -> AnomalyDetector:
    if find_spec("torch") is None:
        load_description(run)  # what is no run folder needs no torch
        raise MissingExtraError(
            f"{run} holds no {ONNX_FILE}: `cavga export` writes one where cavga[train] is installed"
        )
    from cavga.inference.torch_engine import load_run

    engine, description = load_run(run, device)
    return AnomalyDetector(engine, description)


def _with_new_thresholds(detector: AnomalyDetector, model: Path) -> AnomalyDetector:
    """With the thresholds of `cavga calibrate` in force, if there are any."""
    again = load_thresholds(model, detector.description["weights_sha256"])
    if again is not None:
        detector.description = {**detector.description, **again.described()}
        detector.engine.image_threshold = again.calibration.image_threshold
        detector.engine.pixel_threshold = again.calibration.pixel_threshold
    return detector


def _may_use_gpu(device: str) -> bool:
    """Whether it is worth the seconds that it takes to load torch and ask."""
    has_gpu = shutil.which("nvidia-smi") is not None
    return device == "cuda" or (device == "auto" and has_gpu and find_spec("torch") is not None)


def _flatten(images: Iterable[Source] | Source) -> Iterator[Array | Path]:
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


def _not_an_image(item: object) -> UsageError:
    return UsageError(
        f"expected uint8 arrays of shape (height, width, 3), paths, a folder, or an iterable of them; "
        f"got {type(item).__name__}"
    )
