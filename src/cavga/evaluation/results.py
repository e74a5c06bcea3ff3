"""Scores and anomaly maps of labelled test images, from a detector or from elsewhere -> every metric.

Metrics see raw scores. Whatever cannot be computed is null.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.data.records import ANOMALOUS, NORMAL, ImageRecord
from cavga.errors import DataError
from cavga.images.decode import read_image_size, read_mask
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage
from cavga.metrics.image import auroc, auroc_interval, image_metrics, share_interval
from cavga.metrics.pixel import PerImageCounts, PixelHistogram, pixel_metrics
from cavga.rendering.heatmaps import resize_map

AnomalyMap = NDArray[np.float32]
MaskArray = NDArray[np.bool_]


@runtime_checkable
class Result(Protocol):
    """What is known of one image: a Prediction, or a score and a map that were made elsewhere."""

    @property
    def score(self) -> float: ...
    @property
    def is_anomalous(self) -> bool | None: ...
    @property
    def anomaly_map(self) -> AnomalyMap: ...
    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def milliseconds(self) -> float | None: ...


@dataclass(frozen=True)
class Thresholds:
    """From which score on an image, from which value on a pixel is called anomalous; None: not known."""

    image: float | None
    pixel: float | None


@dataclass(frozen=True)
class ScoredImage:
    """One test image with its result; `error` says why there is none."""

    record: ImageRecord
    score: float | None
    is_anomalous: bool | None
    milliseconds: float | None
    error: str | None = None
    mask_error: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found; `maps` lie on disk and are gone with their folder.

    `pixel_counts` has the images with a known mask, in order.
    """

    metrics: dict[str, Any]
    images: tuple[ScoredImage, ...]
    maps: "StoredMaps"
    pixel_counts: PerImageCounts

    @property
    def problems(self) -> list[str]:
        """Files that were left out, one line each."""
        return [text for image in self.images for text in (image.error, image.mask_error) if text]


def evaluate_records(
    detector: AnomalyDetector,
    records: Sequence[ImageRecord],
    *,
    folder: tempfile.TemporaryDirectory[str],
    at_original_size: bool,
    expects_masks: bool,
) -> Evaluation:
    """Score labelled records and compute every metric that they allow; maps are kept in `folder`."""
    maps = StoredMaps(Path(folder.name), default_shape=detector.image_size)
    evaluation = evaluate_results(
        detector.results(record.path for record in records),
        records,
        Thresholds(detector.image_threshold, detector.pixel_threshold),
        maps=maps,
        at_original_size=at_original_size,
        expects_masks=expects_masks,
    )
    paper_rule = _paper_rule(evaluation, detector.description["calibration"])
    return replace(evaluation, metrics=evaluation.metrics | paper_rule)


def evaluate_results(
    results: Iterable[Result | FailedImage],
    records: Sequence[ImageRecord],
    thresholds: Thresholds,
    *,
    maps: "StoredMaps",
    at_original_size: bool,
    expects_masks: bool,
) -> Evaluation:
    """Every metric of results, one for each record; `maps` is empty, and has their maps afterwards."""
    images = []
    for i, (record, result) in enumerate(zip(records, results, strict=True)):
        if isinstance(result, FailedImage):
            images.append(ScoredImage(record, None, None, None, error=result.error))
            continue
        maps.store(i, result.anomaly_map)
        mask_error = _mask_error(record, result.image_size, expects_masks=expects_masks)
        images.append(
            ScoredImage(record, result.score, result.is_anomalous, result.milliseconds, mask_error=mask_error)
        )
    metrics, pixel_counts = _all_metrics(images, PixelSource(images, maps, at_original_size), thresholds)
    return Evaluation(metrics, tuple(images), maps, pixel_counts)


class StoredMaps:
    """Anomaly maps on disk, by the position of their image; of large photographs they are of several sizes."""

    def __init__(self, folder: Path, *, default_shape: tuple[int, int]) -> None:
        self._folder, self._default_shape = folder, default_shape
        self._shapes: set[tuple[int, ...]] = set()

    def store(self, position: int, anomaly_map: AnomalyMap) -> None:
        np.save(self._folder / f"{position}.npy", anomaly_map)
        self._shapes.add(anomaly_map.shape)

    def __getitem__(self, position: int) -> AnomalyMap:
        return np.load(self._folder / f"{position}.npy")

    def resolution(self) -> list[int] | str:
        """Height and width of all maps, or "map" if they differ."""
        shapes = self._shapes or {self._default_shape}
        return list(next(iter(shapes))) if len(shapes) == 1 else "map"


@dataclass(frozen=True)
class PixelSource:
    """The (anomaly map, mask) pairs of a test set, again and again, without holding them."""

    images: Sequence[ScoredImage]
    maps: StoredMaps
    at_original_size: bool

    def pairs(self, defect_type: str | None = None) -> Iterator[tuple[AnomalyMap, MaskArray]]:
        """Those of all images with a known mask, or of the normal ones and one defect type."""
        for i, image in enumerate(self.images):
            if not has_known_mask(image):
                continue
            if defect_type not in (None, image.record.defect_type) and image.record.label == ANOMALOUS:
                continue
            anomaly_map = self.maps[i]
            mask = true_mask(image, None if self.at_original_size else anomaly_map.shape)
            yield resize_map(anomaly_map, mask.shape), mask

    def resolution(self) -> list[int] | str:
        return "original" if self.at_original_size else self.maps.resolution()


def median_image(images: Sequence[ScoredImage]) -> ScoredImage:
    """The image with the median score, of an even number the upper one; of equal scores in the order of paths."""
    return sorted(images, key=lambda image: (image.score or 0.0, image.record.relative_path))[len(images) // 2]


def has_known_mask(image: ScoredImage) -> bool:
    """Whether every pixel's label is known: a normal image, or an anomalous one with a usable mask."""
    if image.error or image.mask_error:
        return False
    return image.record.label == NORMAL or bool(image.record.mask_paths)


def true_mask(image: ScoredImage, size: tuple[int, ...] | None) -> MaskArray:
    """The mask at `size` (nearest), or at its own size; all False for a normal image."""
    if image.record.label == NORMAL or not image.record.mask_paths:
        return np.zeros(size or read_image_size(image.record.path), dtype=np.bool_)
    mask = read_mask(image.record.mask_paths)
    if size is None or mask.shape == size:
        return mask
    resized = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=np.bool_)


def _mask_error(record: ImageRecord, image_size: tuple[int, int], *, expects_masks: bool) -> str | None:
    """Why an anomalous image has no place in the pixel metrics; None where no mask is expected at all."""
    if record.label == NORMAL or not (record.mask_paths or expects_masks):
        return None
    if not record.mask_paths:
        return f"{record.path}: has no mask, though others have; left out of the pixel metrics"
    try:
        mask = read_mask(record.mask_paths)
    except DataError as error:
        return str(error)
    if mask.shape != image_size:
        return (
            f"{record.mask_paths[0]}: the mask is {mask.shape[0]} x {mask.shape[1]}, its image "
            f"{image_size[0]} x {image_size[1]}; left out of the pixel metrics"
        )
    return None


def _all_metrics(
    images: Sequence[ScoredImage], pixels: PixelSource, thresholds: Thresholds
) -> tuple[dict[str, Any], PerImageCounts]:
    scored = [image for image in images if image.score is not None]
    scores = np.array([image.score for image in scored], dtype=np.float64)
    labels = np.array([image.record.label for image in scored], dtype=np.int64)
    report = pixel_metrics(pixels.pairs, thresholds.pixel)
    metrics: dict[str, Any] = {
        "image": image_metrics(scores, labels, thresholds.image, decisions=_decisions(scored)),
        "pixel": {**report.metrics, "resolution": pixels.resolution()},
        "by_defect_type": _by_defect_type(scored, pixels),
        "intervals": {
            "image_auroc": auroc_interval(scores, labels),
            "pixel_auroc": report.auroc_interval,
            "recall": _share_interval(scored, ANOMALOUS),
            "false_alarm_rate": _share_interval(scored, NORMAL),
        },
    }
    return metrics, report.per_image


def _paper_rule(evaluation: Evaluation, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics by the paper's rule, for a model that has it; {} for others.

    Paper: s_a is normalised between 0 and 1 and cut at 0.5; only the test set can be meant, which
    makes every decision depend on the other test images. A classifier decides by itself.
    """
    scored = [image for image in evaluation.images if image.score is not None]
    if calibration["threshold_rule"] != "fixed" or not scored:
        return {}
    scores = np.array([image.score for image in scored], dtype=np.float64)
    labels = np.array([image.record.label for image in scored], dtype=np.int64)
    is_class = calibration["image_score"] == "class"
    cut = 0.0 if is_class else float((scores.min() + scores.max()) / 2)
    rule = {
        "transductive": not is_class,
        "image": image_metrics(scores, labels, cut),
        "pixel": evaluation.metrics["pixel"],  # the rule's pixel threshold is 0.5 already
    }
    return {"paper_rule": rule}


def _decisions(scored: Sequence[ScoredImage]) -> list[bool] | None:
    """Whether each image is called anomalous; None where nobody decided."""
    found = [image.is_anomalous for image in scored if image.is_anomalous is not None]
    return found if len(found) == len(scored) else None


def _share_interval(scored: Sequence[ScoredImage], label: int) -> list[float] | None:
    """The exact 95 % interval of the share of one label's images that are called anomalous."""
    decisions = _decisions([image for image in scored if image.record.label == label])
    return None if decisions is None else share_interval(decisions)


def _by_defect_type(scored: Sequence[ScoredImage], pixels: PixelSource) -> dict[str, dict[str, Any]]:
    normal = [image.score for image in scored if image.record.label == NORMAL]
    result = {}
    for name in sorted({image.record.defect_type for image in scored if image.record.defect_type}):
        found = [image for image in scored if image.record.defect_type == name]
        decisions = _decisions(found)
        scores = np.array(normal + [image.score for image in found], dtype=np.float64)
        labels = np.array([NORMAL] * len(normal) + [ANOMALOUS] * len(found))
        histogram = PixelHistogram()
        for anomaly_map, mask in pixels.pairs(name):
            histogram.update(anomaly_map, mask)
        result[name] = {
            "count": len(found),
            "image_auroc": auroc(scores, labels),
            "recall": None if decisions is None else float(np.mean(decisions)),
            "pixel_auroc": histogram.auroc(),
            "aupro": histogram.aupro(),
        }
    return result
