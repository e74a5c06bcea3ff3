"""Metrics over the raw scores of images: higher means more anomalous, `score >= threshold` means anomalous.

What cannot be computed (one class only, nothing labelled) is None, never 0.0. Scores are never clamped or squashed. No
torch. Metrics over pixels are in cavga.metrics.pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cavga.metrics.curves import _ratio, at_or_above, auroc_of_counts, chunk_sizes, import_extra, percentile_interval
from cavga.metrics.significance import clopper_pearson


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
    predicted = np.asarray(decisions, dtype=np.bool_) if decisions is not None else None
    predicted = predicted if threshold is None else at_or_above(values, threshold)
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


def share_interval(predicted: Sequence[bool]) -> list[float] | None:
    """The exact 95 % interval of a share; None of nothing."""
    return list(clopper_pearson(sum(predicted), len(predicted))) if predicted else None


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
