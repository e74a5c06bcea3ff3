"""The scale on which a model's maps are drawn: one for all of its images. No torch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import AnomalyMap
from cavga.calibration.thresholds import Calibration
from cavga.runs.map_unit import LOG_ODDS, map_unit_of


@runtime_checkable
class ScaledModel(Protocol):
    """What a scale follows from: a detector is one."""

    @property
    def description(self) -> Mapping[str, Any]: ...

    @property
    def pixel_threshold(self) -> float: ...


LOG_ODDS_REACH = 8.0  # of a classifier's map: 3000 to 1 for and against, and 16-bit steps of 0.0002


@dataclass(frozen=True)
class MapScale:
    """From `reach` below the pixel threshold to `reach` above it; the threshold is half way.

    `is_known`: False where there is no threshold, and what is half way means nothing.
    """

    threshold: float
    reach: float
    is_known: bool = True

    @property
    def minimum(self) -> float:
        return self.threshold - self.reach

    @property
    def maximum(self) -> float:
        return self.threshold + self.reach

    def shares(self, anomaly_map: AnomalyMap) -> NDArray[np.float64]:
        """A map as shares of the scale, linear, clipped to [0, 1]; what is at or above the threshold is at least 0.5.

        A faulty value (NaN) must not look normal: it is 1.
        """
        share = (anomaly_map.astype(np.float64) - self.threshold + self.reach) / (2 * self.reach)
        return np.clip(np.where(np.isnan(share), 1.0, share), 0, 1)


def has_log_odds(model: ScaledModel) -> bool:
    """Whether a model's map is its classifier's log-odds, which have no natural 0."""
    return map_unit_of(model.description) == LOG_ODDS


def has_natural_scale(model: ScaledModel) -> bool:
    """Whether 0 of a model's map means "as normal as can be", and its threshold lies above that."""
    return not has_log_odds(model) and 0 < model.pixel_threshold < math.inf


def picture_scale(model: ScaledModel) -> MapScale:
    """The scale of overlays and heatmaps: 0 to twice the pixel threshold, where the map has a natural 0.

    Else twice as far to both sides of the threshold as a typical good image lies below it: the median of the scores
    that set the thresholds, each the mean of a map's highest 1 %. That is then at a quarter of the scale. Where scores
    are not of the map, or above its threshold: LOG_ODDS_REACH to both sides.
    """
    threshold = model.pixel_threshold
    if has_natural_scale(model):
        return MapScale(threshold, threshold)
    calibration = Calibration.from_dict(model.description["calibration"])
    scores = calibration.scores or (calibration.score_min, calibration.score_max)
    reach = 2 * (threshold - float(np.median(scores)))
    is_usable = calibration.image_score == "map" and 0 < reach < math.inf
    return MapScale(threshold, reach if is_usable else LOG_ODDS_REACH)


def scale_of_maps(maps: Iterable[AnomalyMap], threshold: float | None) -> MapScale:
    """The scale of maps whose model is not known: 0 to twice the threshold, if that is above 0.

    Else as far to both sides of the threshold as the highest value lies above it; without one, lowest to highest value.
    """
    if threshold is not None and threshold > 0:
        return MapScale(threshold, threshold)
    ends = [(float(anomaly_map.min()), float(anomaly_map.max())) for anomaly_map in maps]
    low, high = min((low for low, _ in ends), default=0.0), max((high for _, high in ends), default=0.0)
    if threshold is not None:
        return MapScale(threshold, high - threshold if high > threshold else 1.0)
    return MapScale((low + high) / 2, (high - low) / 2 or 1.0, is_known=False)
