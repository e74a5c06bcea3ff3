"""From photographs to predictions: decoding in threads, batches, and the engine that scores them. No torch."""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.calibration.normal_scores import NormalScores
from cavga.calibration.stored import load_thresholds
from cavga.calibration.thresholds import Calibration
from cavga.config.schema import DEVICES
from cavga.errors import DataError, MissingExtraError, ModelFileError, UsageError, unknown_name
from cavga.images.as_photograph import Held
from cavga.images.decode import BATCH_SIZE, NUM_DECODE_THREADS
from cavga.images.prefetch import prefetch
from cavga.images.tiling import Tiling, tiling_of
from cavga.inference.engine import Engine, EngineOutput
from cavga.inference.exported_formats import LISTED_SUFFIXES, format_of
from cavga.inference.load_exported import load_exported
from cavga.inference.prediction import Display, Prediction
from cavga.inference.prepare import DecodedImage, FailedImage, FileContent, prepare, read, too_large
from cavga.inference.sources import Source, ahead_of, one_image, single_images
from cavga.regular_files import is_file
from cavga.rendering.scale import picture_scale
from cavga.runs.model_json import ONNX_FILE, load_description
from cavga.threads import thread_pool


class AnomalyDetector:
    """Scores photographs with a trained model."""

    _source: "_Source | None" = None

    def __init__(self, engine: Engine, description: dict[str, Any], tiling: Tiling | None = None) -> None:
        self.engine, self.description = engine, description
        self.tiling = tiling or tiling_of(description, engine.image_size)

    @classmethod
    def load(cls, model: str | Path, *, device: str = "auto", runs_code: bool = False) -> "AnomalyDetector":
        """The model of a run folder or of an exported file, with the thresholds of `cavga calibrate` if there are any.

        A run's exported graph is used where there is one, and PyTorch where there is a GPU or no exported graph.
        A `.pt2` file, which can run any program when it is read, is refused without `runs_code`. A detector that was
        loaded can be pickled: it is then read again from where it came from. Raises ModelFileError if the model or its
        calibration.json is missing, damaged or not one of ours, MissingExtraError if it takes torch and there is none.
        """
        detector = cls.load_as_trained(model, device=device, runs_code=runs_code)
        return with_new_thresholds(detector, Path(model))

    @classmethod
    def load_as_trained(cls, model: str | Path, *, device: str = "auto", runs_code: bool = False) -> "AnomalyDetector":
        """As `load`, with the model's own thresholds: those of its training, or that it was exported with."""
        path = Path(model)
        if device not in DEVICES:
            raise unknown_name("device", device, DEVICES)
        source = _Source(path.absolute(), device, runs_code=runs_code)
        if format_of(path) is not None:
            return _loaded(_exported(path, device, runs_code=runs_code), source)
        if is_file(path):
            raise ModelFileError(f"expected a run folder or an exported {LISTED_SUFFIXES} file, found {path}")
        if (path / ONNX_FILE).exists() and not _may_use_gpu(device):
            return _loaded(_exported_of_run(path, device), source)
        return _loaded(_run_in_torch(path, device), source)

    @classmethod
    def load_in_torch(cls, run: str | Path, *, device: str = "auto") -> "AnomalyDetector":
        """As `load`, a run folder in PyTorch: for a GPU, and for what an exported graph does not hold."""
        source = _Source(Path(run).absolute(), device, in_torch=True)
        return with_new_thresholds(_loaded(_run_in_torch(Path(run), device), source), Path(run))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the place it was loaded from; thresholds and description are those of now."""
        if self._source is None:
            raise UsageError("this detector was not loaded from a file, so it cannot be pickled: save it as a run")
        thresholds = (self.image_threshold, self.pixel_threshold)
        return _load_again, (self._source, *thresholds), {"description": self.description}

    def __repr__(self) -> str:
        model = self.description.get("config", {}).get("model", {})
        names = (self.description.get("variant"), model.get("encoder"))
        height, width = self.image_size
        parts = [
            " ".join(str(name) for name in names if name),
            f"input {height} x {width}",
            f"image threshold {self.image_threshold:.6g}",
            f"mask threshold {self.pixel_threshold:.6g}",
            *([] if self._source is None else [f"from {self._source.shown}"]),
        ]
        return f"AnomalyDetector({', '.join(part for part in parts if part)})"

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

    @property
    def normal_scores(self) -> NormalScores | None:
        """The scores of the good photographs that set the thresholds; None of a model that did not keep them."""
        found = self.description.get("calibration")  # a graph that is being calibrated has none yet
        return None if found is None else NormalScores.of(Calibration.from_dict(found))

    def __call__(self, image: Source) -> Prediction:
        """The prediction of one image: as `predict`, which takes several."""
        (prediction,) = self.predict([one_image(image)], ahead=0)
        return prediction

    def predict(self, images: Iterable[Source] | Source, *, ahead: int | None = None) -> Iterator[Prediction]:
        """One prediction per image, in order.

        Takes paths, a folder (searched recursively), arrays, torch tensors and Pillow images (what their numbers mean:
        cavga.images.as_photograph), or any iterable of them, and holds no more than a few batches of it.

        Of a list or a folder, images are read ahead and scored together. Of a generator, or any other iterator, which
        may be a camera, each image is scored before the next one is asked for; `ahead` as for `results`.

        An image that cannot be read raises DataError and ends the iteration: for folders of which that may be so take
        `results`, which goes on.
        """
        for result in self.results(images, ahead=ahead):
            if isinstance(result, FailedImage):
                raise DataError(result.error)
            yield result

    def class_attention(self, photograph: Source) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A^cn and A^ca, the attention of the normal and of the anomalous class, in [0, 1] at the input size.

        Takes one image as `predict` does; of a region of interest they are its rectangle's.
        Raises UsageError for a model without classifier, for one with tiles, and for an exported graph, which does
        not hold them.
        """
        if self.tiling.tile is not None:
            raise UsageError("class attention is of one image as the model sees it: this model sees tiles")
        explain = getattr(self.engine, "class_attention", None)
        if explain is None:
            raise UsageError("an exported graph holds no class attention: use AnomalyDetector.load_in_torch(RUN)")
        ready = prepare(one_image(photograph), self.engine, self.tiling)
        if isinstance(ready, FailedImage):
            raise DataError(ready.error)
        return explain(ready.photograph)

    def results(
        self, images: Iterable[Source] | Source, *, ahead: int | None = None
    ) -> Iterator[Prediction | FailedImage]:
        """As `predict`, with a FailedImage (`error`, `path`) in the place of an image that cannot be read.

        `ahead` is how many images are taken before the result of an earlier one is given, so that they can be decoded
        meanwhile and scored together. With 0 each is scored before the next one is asked for, as a camera needs it:
        that is the default for an iterator. `ahead=47` is what lists and folders have, for a generator of files.
        """
        ahead, sources = ahead_of(images, ahead), single_images(images)
        if self.tiling.tile is not None:
            yield from self._results_of_tiles(sources, ahead=min(ahead, 1))
            return
        batch: list[DecodedImage | FailedImage] = []
        ready = partial(prepare, engine=self.engine, tiling=self.tiling)
        batch_size = min(BATCH_SIZE, ahead + 1)
        for item in prefetch(sources, ready, most=ahead + 1 - batch_size):
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._score(batch)
                batch = []
        yield from self._score(batch)

    def prepare(self, source: Held | Path | FileContent) -> DecodedImage | FailedImage:
        """One image made ready for `score`: what can be done in any thread, while another batch is scored."""
        if self.tiling.tile is not None:
            return read(source, self.tiling)
        return prepare(source, self.engine, self.tiling)

    def score(self, batch: Sequence[DecodedImage | FailedImage]) -> Iterator[Prediction | FailedImage]:
        """The predictions of images that `prepare` made ready, in order; at most a batch is scored at once.

        For who brings threads and batches of its own, as a server does: `predict` and `results` need neither.
        """
        if self.tiling.tile is None:
            yield from self._score(list(batch))
            return
        with thread_pool(NUM_DECODE_THREADS) as pool:
            for item in batch:
                yield item if isinstance(item, FailedImage) else self._score_tiles_or_fail(item, pool)

    def _results_of_tiles(self, sources: Iterable[Held | Path], *, ahead: int) -> Iterator[Prediction | FailedImage]:
        """One photograph after the other, the next one decoded meanwhile: large ones do not fit in dozens."""
        with thread_pool(NUM_DECODE_THREADS) as pool:
            for item in prefetch(sources, partial(read, tiling=self.tiling), most=ahead):
                yield item if isinstance(item, FailedImage) else self._score_tiles_or_fail(item, pool)

    def _score_tiles_or_fail(self, photograph: DecodedImage, pool: ThreadPoolExecutor) -> Prediction | FailedImage:
        try:
            return self._score_tiles(photograph, pool)
        except MemoryError:
            return too_large(photograph)

    def _score_tiles(self, photograph: DecodedImage, pool: ThreadPoolExecutor) -> Prediction | FailedImage:
        """Cut, resize and score a batch of tiles at a time; the map grows as they come."""
        started = time.perf_counter()
        layout, scores = self.tiling.layout(photograph.size), []

        def maps() -> Iterator[NDArray[np.float32]]:
            tiles = self.tiling.tiles(photograph.photograph)
            while batch := list(islice(tiles, BATCH_SIZE)):
                scored = self.engine.score(list(pool.map(self.engine.resize, batch)))
                scores.append(float(scored.scores.max()))  # of NaN and a number that is NaN
                yield from scored.maps

        anomaly_map = layout.stitch(maps())
        if not _is_finite(np.array(scores), anomaly_map):
            return _not_finite(photograph)
        mask, score, threshold = layout.mask(anomaly_map, self.pixel_threshold), max(scores), self.image_threshold
        milliseconds = (time.perf_counter() - started) * 1000 + photograph.milliseconds
        is_anomalous, size, path = score >= threshold, photograph.size, photograph.path
        return Prediction(
            score, threshold, is_anomalous, anomaly_map, mask, size, milliseconds, path, photograph.remarks,
            self.normal_scores, _with_pixels(self._display(), photograph),
        )  # fmt: skip

    def _display(self) -> Display | None:
        """What pictures are drawn with; None of a graph that is not calibrated yet."""
        if "calibration" not in self.description:
            return None
        return Display(picture_scale(self), self.tiling.pixel_range, self.tiling.roi)

    def _score(self, batch: list[DecodedImage | FailedImage]) -> Iterator[Prediction | FailedImage]:
        ready = [item for item in batch if isinstance(item, DecodedImage)]
        if not ready:
            yield from (item for item in batch if isinstance(item, FailedImage))
            return
        started = time.perf_counter()
        scored = self.engine.score([item.photograph for item in ready])
        yield from self.predictions(batch, scored, (time.perf_counter() - started) * 1000 / len(ready))

    def predictions(
        self, batch: Sequence[DecodedImage | FailedImage], scored: EngineOutput, milliseconds: float
    ) -> Iterator[Prediction | FailedImage]:
        """What the engine said of the images of a batch that could be read, as predictions of this model, in order.

        `milliseconds` are those of one image. Not for a model with tiles.
        """
        threshold, normal_scores, display = self.image_threshold, self.normal_scores, self._display()
        position = 0
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
            position += 1
            if not _is_finite(score, anomaly_map):
                yield _not_finite(item)
                continue
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
                normal_scores=normal_scores,
                display=_with_pixels(display, item),
            )


@dataclass(frozen=True)
class _Source:
    """Where a detector was loaded from, and how."""

    path: Path
    device: str
    in_torch: bool = False
    runs_code: bool = False

    @property
    def shown(self) -> Path:
        """The path as short as it can be said here."""
        return self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path


def _loaded(detector: AnomalyDetector, source: _Source) -> AnomalyDetector:
    detector._source = source
    return detector


def _load_again(source: _Source, image_threshold: float, pixel_threshold: float) -> AnomalyDetector:
    """A detector that was pickled, from where it came from."""
    if source.in_torch:
        detector = AnomalyDetector.load_in_torch(source.path, device=source.device)
    else:
        detector = AnomalyDetector.load_as_trained(source.path, device=source.device, runs_code=source.runs_code)
    detector.engine.image_threshold, detector.engine.pixel_threshold = image_threshold, pixel_threshold
    return detector


def _with_pixels(display: Display | None, image: DecodedImage) -> Display | None:
    return display if display is None or image.given is None else replace(display, pixels=image.given)


def _is_finite(score: Any, anomaly_map: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(score).all() and np.isfinite(anomaly_map).all())


def _not_finite(image: DecodedImage) -> FailedImage:
    name = "an array" if image.path is None else image.path
    return FailedImage(
        f"{name}: the model gives a score or a map that is no finite number; export it again, or as fp32",
        image.path,
    )


def _exported(path: Path, device: str, *, runs_code: bool = False) -> AnomalyDetector:
    engine = load_exported(path, device, runs_code=runs_code)
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


def with_new_thresholds(detector: AnomalyDetector, model: Path) -> AnomalyDetector:
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
