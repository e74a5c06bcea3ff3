"""Scored test images -> every metric of metrics.json, those by defect type and by the paper's rule among them.

What cannot be computed is null.
"""

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cavga.calibration.rules import RULES
from cavga.data.records import ANOMALOUS, NORMAL, ImageRecord
from cavga.errors import DataError
from cavga.evaluation.results import Evaluation, PixelSource, Result, ScoredImage, StoredMaps, Thresholds
from cavga.evaluation.verdicts import counts_of_verdicts, touches
from cavga.images.decode import remarks_lines
from cavga.images.masks import MaskReading, examine_masks
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage
from cavga.metrics.image import auroc_interval, image_metrics, share_interval
from cavga.metrics.pixel import PerImageCounts, PixelHistogram, pixel_metrics
from cavga.metrics.registry import BY_TYPE, shown_in
from cavga.progress import SILENT, Progress, counted

logger = logging.getLogger("cavga")


def evaluate_records(
    detector: AnomalyDetector,
    records: Sequence[ImageRecord],
    *,
    folder: tempfile.TemporaryDirectory[str],
    at_original_size: bool,
    expects_masks: bool,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score labelled records and compute every metric that they allow; maps are kept in `folder`."""
    maps = StoredMaps(Path(folder.name), default_shape=detector.image_size)
    evaluation = evaluate_results(
        detector.results([record.path for record in records]),
        records,
        Thresholds(detector.image_threshold, detector.pixel_threshold),
        maps=maps,
        at_original_size=at_original_size,
        expects_masks=expects_masks,
        progress=progress,
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
    progress: Progress = SILENT,
) -> Evaluation:
    """Every metric of results, one for each record; `maps` is empty, and has their maps afterwards."""
    images = []
    progress.begin("scoring", len(records), "images")
    for i, (record, result) in enumerate(counted(zip(records, results, strict=True), progress)):
        if isinstance(result, FailedImage):
            images.append(ScoredImage(record, None, None, None, error=result.error))
            continue
        maps.store(i, result.anomaly_map)
        images.append(_scored(record, result, thresholds.pixel, expects_masks=expects_masks))
    for line in remarks_lines({image.record.relative_path: image.remarks for image in images}):
        logger.warning("%s", line)
    progress.begin("measuring")
    metrics, pixel_counts = _all_metrics(images, PixelSource(images, maps, at_original_size), thresholds)
    return Evaluation(metrics, tuple(images), maps, pixel_counts)


def _scored(record: ImageRecord, result: Result, pixel_threshold: float | None, *, expects_masks: bool) -> ScoredImage:
    """A result beside what its mask says."""
    error, reading = _mask_of(record, result.image_size, expects_masks=expects_masks)
    doubts: tuple[str, ...] = ()
    is_touched = None
    if reading is not None:
        doubts = tuple(f"its mask {doubt}" for doubt in reading.doubts)
        if not reading.mask.any():
            doubts += ("its mask is empty, though it is labelled bad",)
        elif pixel_threshold is not None:
            is_touched = touches(result.anomaly_map, pixel_threshold, reading.mask)
    return ScoredImage(
        record,
        result.score,
        result.is_anomalous,
        result.milliseconds,
        mask_error=error,
        remarks=(*getattr(result, "remarks", ()), *doubts),
        touches=is_touched,
        p_value=getattr(result, "p_value", None),
        p_value_in_words=getattr(result, "p_value_in_words", None),
    )


def _mask_of(
    record: ImageRecord, image_size: tuple[int, int], *, expects_masks: bool
) -> tuple[str | None, MaskReading | None]:
    """Why a defective image has no place in the pixel metrics, or its mask; neither where none is expected at all."""
    if record.label == NORMAL or not (record.mask_paths or expects_masks):
        return None, None
    if not record.mask_paths:
        return f"{record.path}: has no mask, though others have; left out of the pixel metrics", None
    try:
        reading = examine_masks(record.mask_paths)
    except DataError as error:
        return str(error), None
    height, width = reading.mask.shape
    if (height, width) != image_size:
        return (
            f"{record.mask_paths[0]}: the mask is {height} x {width}, its image "
            f"{image_size[0]} x {image_size[1]}; left out of the pixel metrics"
        ), None
    return None, reading


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
        "decisions": _verdicts(scored),
    }
    return metrics, report.per_image


def _paper_rule(evaluation: Evaluation, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics by the paper's rule, for a model that has it; {} for others.

    Paper: s_a is normalised between 0 and 1 and cut at 0.5; only the test set can be meant, which
    makes every decision depend on the other test images. A classifier decides by itself.
    """
    scored = [image for image in evaluation.images if image.score is not None]
    rule = RULES[calibration["threshold_rule"]]
    if rule.follows_scores or not scored:
        return {}
    scores = np.array([image.score for image in scored], dtype=np.float64)
    labels = np.array([image.record.label for image in scored], dtype=np.int64)
    cut, _ = rule.image_threshold(scores, calibration["false_alarm_rate"], calibration["image_score"], None)
    found = {
        "transductive": calibration["image_score"] != "class",
        "image": image_metrics(scores, labels, cut),
        "pixel": evaluation.metrics["pixel"],  # the rule's pixel threshold is 0.5 already
    }
    return {"paper_rule": found}


def _decisions(scored: Sequence[ScoredImage]) -> list[bool] | None:
    """Whether each image is predicted anomalous; None where nobody decided."""
    found = [image.is_anomalous for image in scored if image.is_anomalous is not None]
    return found if len(found) == len(scored) else None


def _verdicts(scored: Sequence[ScoredImage]) -> dict[str, int] | None:
    """How many images have each verdict; None where nobody decided."""
    verdicts = [image.verdict for image in scored if image.verdict is not None]
    return counts_of_verdicts(verdicts) if len(verdicts) == len(scored) else None


def _share_interval(scored: Sequence[ScoredImage], label: int) -> list[float] | None:
    """The exact 95 % interval of the share of one label's images that are predicted anomalous."""
    decisions = _decisions([image for image in scored if image.record.label == label])
    return None if decisions is None else share_interval(decisions)


def _by_defect_type(scored: Sequence[ScoredImage], pixels: PixelSource) -> dict[str, dict[str, Any]]:
    """The metrics that are shown by type, of the images of each type beside all normal ones."""
    normal = [image for image in scored if image.record.label == NORMAL]
    result: dict[str, dict[str, Any]] = {}
    for name in sorted({image.record.defect_type for image in scored if image.record.defect_type}):
        found = [image for image in scored if image.record.defect_type == name]
        both = [*normal, *found]
        scores = np.array([image.score for image in both], dtype=np.float64)
        labels = np.array([NORMAL] * len(normal) + [ANOMALOUS] * len(found))
        histogram = PixelHistogram()
        for anomaly_map, mask in pixels.pairs(name):
            histogram.update(anomaly_map, mask)
        metrics = {
            "image": image_metrics(scores, labels, None, decisions=_decisions(both)),
            "pixel": histogram.metrics(),
        }
        result[name] = {"count": len(found), **{metric.name: metric.of(metrics) for metric in shown_in(BY_TYPE)}}
    return result
