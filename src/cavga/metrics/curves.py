"""AUROC, average precision and AUPRO from counts over thresholds, and what counting needs. No torch.

Float32 scores become whole numbers of the same order, so that a histogram over them is exact.
"""

import importlib
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Floats
from cavga.errors import MissingExtraError
from cavga.metrics.significance import CONFIDENCE

AUPRO_LIMIT = 0.3  # false-positive rate up to which AUPRO integrates (MVTec AD, Bergmann et al. 2021)
CHUNK_VALUES = 2**21  # numbers drawn at a time by a bootstrap: 16 MB

KeyCounts = Floats  # one number per distinct score, in ascending order of score; exact up to 2^53
Keys = NDArray[np.uint32]


def at_or_above(scores: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Where `score >= threshold`, the threshold rounded to the scores' precision, as torch does.

    So a float32 score of 0.7 is at the threshold 0.7, though 0.7 is larger in float64.
    """
    return np.asarray(scores >= scores.dtype.type(threshold))


def num_at_or_above(counts: KeyCounts) -> KeyCounts:
    """For each distinct score, how many (or how much) lie at or above it; along the last axis."""
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]


def auroc_of_counts(normal: KeyCounts, anomalous: KeyCounts) -> Floats:
    """Area under the ROC curve along the last axis, ties counted half; both classes must be there."""
    num_pairs = normal.sum(axis=-1) * anomalous.sum(axis=-1)
    num_below = np.cumsum(normal, axis=-1) - normal / 2
    return np.asarray((anomalous * num_below).sum(axis=-1) / num_pairs)


def average_precision_of_counts(normal: KeyCounts, anomalous: KeyCounts) -> Floats:
    """Sum of (step in recall) x precision from the highest score down, as scikit-learn defines it; last axis."""
    hits = num_at_or_above(anomalous)
    precision = hits / np.maximum(hits + num_at_or_above(normal), 1)  # in a resample a score may have no image
    return np.asarray((anomalous * precision).sum(axis=-1) / anomalous.sum(axis=-1))


def aupro_of_counts(normal: KeyCounts, region_weight: Floats, *, num_regions: int) -> float:
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


def last_reaching(above: KeyCounts, targets: Floats) -> NDArray[np.intp]:
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


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
