"""Metrics over raw scores: higher means more anomalous, `score >= threshold` means anomalous.

What cannot be computed (one class only, nothing labelled) is None, never 0.0. Scores are never
clamped or squashed. No torch. Metrics over pixels are in pixel_metrics.py.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cavga.errors import MissingExtraError
from cavga.metrics.significance import CONFIDENCE, clopper_pearson

AUPRO_LIMIT = 0.3  # false-positive rate up to which AUPRO integrates (MVTec AD, Bergmann et al. 2021)
CHUNK_VALUES = 2**21  # numbers drawn at a time by a bootstrap: 16 MB

Floats = NDArray[np.float64]
Counts = Floats  # one number per distinct score, in ascending order of score; exact up to 2^53
Keys = NDArray[np.uint32]


def image_metrics(
    scores: ArrayLike, labels: ArrayLike, threshold: float | None, *, decisions: Sequence[bool] | None = None
) -> dict[str, float | None]:
    """All image-level metrics; labels are 0 (normal) or 1 (anomalous).

    Ranking metrics and balanced_accuracy need both classes, f1 and recall an anomalous image,
    false_alarm_rate a normal one. f1_max_oracle takes the best threshold of these very images.
    `decisions` are taken where there is no threshold; with neither, only the ranking can be measured.
    """
    values, is_anomalous = _checked(scores, labels)
    ranking = _ranking_metrics(values, is_anomalous)
    called = np.asarray(decisions, dtype=np.bool_) if decisions is not None else None
    predicted = called if threshold is None else at_or_above(values, threshold)
    return {
        "auroc": ranking["auroc"],
        "average_precision": ranking["average_precision"],
        **_decision_metrics(predicted, is_anomalous),
        "f1_max_oracle": ranking["f1_max_oracle"],
        "threshold": None if threshold is None else float(threshold),
    }


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Area under the ROC curve in [0, 1], ties counted half; None with one class only."""
    return _ranking_metrics(*_checked(scores, labels))["auroc"]


def auroc_interval(
    scores: ArrayLike, labels: ArrayLike, *, seed: int = 0, num_resamples: int = 1000
) -> list[float] | None:
    """95 % percentile bootstrap [low, high] of the AUROC, normal and anomalous images drawn apart."""
    values, is_anomalous = _checked(scores, labels)
    if is_anomalous.all() or not is_anomalous.any():
        return None
    distinct, position = np.unique(values, return_inverse=True)
    # Drawing n images with replacement is one multinomial draw over the distinct scores.
    normal = np.bincount(position[~is_anomalous], minlength=len(distinct))
    anomalous = np.bincount(position[is_anomalous], minlength=len(distinct))
    rng = np.random.default_rng(seed)
    areas = []
    for size in chunk_sizes(num_resamples, len(distinct)):
        drawn_normal = rng.multinomial(normal.sum(), normal / normal.sum(), size=size)
        drawn_anomalous = rng.multinomial(anomalous.sum(), anomalous / anomalous.sum(), size=size)
        areas.append(auroc_of_counts(drawn_normal.astype(np.float64), drawn_anomalous.astype(np.float64)))
    return percentile_interval(np.concatenate(areas))


def share_interval(called: Sequence[bool]) -> list[float] | None:
    """The exact 95 % interval of a share; None of nothing."""
    return list(clopper_pearson(sum(called), len(called))) if called else None


def image_iou(predicted: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float | None:
    """Intersection over union of the anomalous class in one image; None if both masks are empty."""
    return _ratio(int((predicted & mask).sum()), int((predicted | mask).sum()))


def iou_per_image(ious: Sequence[float | None], is_anomalous: Sequence[bool]) -> float | None:
    """Mean IoU over the images with an anomalous pixel (their IoU is never None)."""
    kept = [iou for iou, anomalous in zip(ious, is_anomalous, strict=True) if anomalous and iou is not None]
    return float(np.mean(kept)) if kept else None


def iou_uflow(ious: Sequence[float | None]) -> float | None:
    """Mean IoU over all images, nothing predicted where nothing is (None) counted 1 (U-Flow's rule)."""
    return float(np.mean([1.0 if iou is None else iou for iou in ious])) if ious else None


def at_or_above(scores: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Where `score >= threshold`, the threshold rounded to the scores' precision, as torch does.

    So a float32 score of 0.7 is at the threshold 0.7, though 0.7 is larger in float64.
    """
    return np.asarray(scores >= scores.dtype.type(threshold))


def num_at_or_above(counts: Counts) -> Counts:
    """For each distinct score, how many (or how much) lie at or above it; along the last axis."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def auroc_of_counts(normal: Counts, anomalous: Counts) -> Floats:
    """Area under the ROC curve along the last axis, ties counted half; both classes must be there."""
    num_pairs = normal.sum(axis=-1) * anomalous.sum(axis=-1)
    num_below = np.cumsum(normal, axis=-1) - normal / 2
    return np.asarray((anomalous * num_below).sum(axis=-1) / num_pairs)


def average_precision_of_counts(normal: Counts, anomalous: Counts) -> Floats:
    """Sum of (step in recall) x precision from the highest score down, as scikit-learn defines it; last axis."""
    hits = num_at_or_above(anomalous)
    precision = hits / np.maximum(hits + num_at_or_above(normal), 1)  # in a resample a score may have no image
    return np.asarray((anomalous * precision).sum(axis=-1) / anomalous.sum(axis=-1))


def aupro_of_counts(normal: Counts, region_weight: Floats, *, num_regions: int) -> float:
    """Area under the per-region overlap curve up to AUPRO_LIMIT, divided by it; in [0, 1].

    `region_weight` sums 1 / |region| over the anomalous pixels of each score, so its running sum
    over num_regions is the mean over all regions of the share found. x is the false-positive rate
    over the normal pixels of all images; the curve starts at (0, 0), joins distinct scores by
    straight lines and is cut at the limit by interpolation (MVTec AD's evaluation code).
    """
    x = np.concatenate([[0.0], np.cumsum(normal[::-1]) / normal.sum()])
    y = np.concatenate([[0.0], np.cumsum(region_weight[::-1]) / num_regions])
    kept = x <= AUPRO_LIMIT
    y = np.append(y[kept], np.interp(AUPRO_LIMIT, x, y))
    x = np.append(x[kept], AUPRO_LIMIT)
    area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
    return min(area / AUPRO_LIMIT, 1.0)  # the running sum of weights can pass 1 by rounding


def last_reaching(above: Counts, targets: Floats) -> NDArray[np.intp]:
    """For each target, the last position where the falling counts `above` are at least the target."""
    return np.searchsorted(-above, -targets, side="right") - 1


def order_preserving_keys(scores: NDArray[np.float32]) -> Keys:
    """float32 -> uint32 in the same order: positives get the sign bit, negatives have all bits flipped."""
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 makes -0.0 the +0.0 it is equal to
    sign = np.uint32(0x80000000)
    return np.where(bits & sign, ~bits, bits | sign)


def scores_of_keys(keys: Keys) -> NDArray[np.float32]:
    """The inverse of order_preserving_keys."""
    sign = np.uint32(0x80000000)
    return np.where(keys & sign, keys ^ sign, ~keys).view(np.float32)


def percentile_interval(samples: Floats) -> list[float]:
    """[low, high] that hold the middle 95 % of the samples."""
    tail = 100 * (1 - CONFIDENCE) / 2
    return [float(value) for value in np.percentile(samples, [tail, 100 - tail])]


def chunk_sizes(num_resamples: int, num_values: int) -> list[int]:
    """How many resamples of `num_values` numbers each to draw at a time, so that memory is bounded."""
    size = max(1, CHUNK_VALUES // max(num_values, 1))
    return [min(size, num_resamples - start) for start in range(0, num_resamples, size)]


def import_extra(module: str) -> ModuleType:
    """A module that comes with the extra `train`, imported where it is used: importing us stays light."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"metrics need {module}: pip install 'cavga[train]'") from error


def _ranking_metrics(values: NDArray[Any], is_anomalous: NDArray[np.bool_]) -> dict[str, float | None]:
    if is_anomalous.all() or not is_anomalous.any():
        return dict.fromkeys(("auroc", "average_precision", "f1_max_oracle"))
    sklearn_metrics = import_extra("sklearn.metrics")
    values = values.astype(np.float64)
    precision, recall, _ = sklearn_metrics.precision_recall_curve(is_anomalous, values)
    denominator = np.maximum(precision + recall, np.finfo(np.float64).tiny)  # both 0: nothing found
    return {
        "auroc": float(sklearn_metrics.roc_auc_score(is_anomalous, values)),
        "average_precision": float(sklearn_metrics.average_precision_score(is_anomalous, values)),
        "f1_max_oracle": float((2 * precision * recall / denominator).max()),
    }


def _decision_metrics(predicted: NDArray[np.bool_] | None, is_anomalous: NDArray[np.bool_]) -> dict[str, float | None]:
    if predicted is None:
        return dict.fromkeys(("accuracy", "balanced_accuracy", "f1", "recall", "false_alarm_rate"))
    num_anomalous, num_normal = int(is_anomalous.sum()), int((~is_anomalous).sum())
    num_hits, num_alarms = int(predicted[is_anomalous].sum()), int(predicted[~is_anomalous].sum())
    recall = _ratio(num_hits, num_anomalous)
    false_alarm_rate = _ratio(num_alarms, num_normal)
    balanced = None if recall is None or false_alarm_rate is None else (recall + 1 - false_alarm_rate) / 2
    return {
        "accuracy": _ratio(num_hits + num_normal - num_alarms, len(is_anomalous)),
        "balanced_accuracy": balanced,
        "f1": _ratio(2 * num_hits, num_hits + num_alarms + num_anomalous) if num_anomalous else None,
        "recall": recall,
        "false_alarm_rate": false_alarm_rate,
    }


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    values, truth = np.asarray(scores), np.asarray(labels)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"expected one label per score, got shapes {values.shape} and {truth.shape}")
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise ValueError(f"expected finite scores, got {values[bad[0]]} at index {bad[0]}")
    if (bad := np.flatnonzero((truth != 0) & (truth != 1))).size:
        raise ValueError(f"expected labels 0 or 1, got {truth[bad[0]]} at index {bad[0]}")
    return values, truth == 1


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
