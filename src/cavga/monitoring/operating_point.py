"""Another operating point of a trained model, without photographs: by the scores it keeps, or as given. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cavga._version import __version__
from cavga.arrays import Floats
from cavga.calibration.rules import GIVEN, RULES
from cavga.calibration.stored import (
    NEW_THRESHOLDS_KEY,
    NO_PHOTOGRAPHS,
    StoredCalibration,
    load_thresholds,
    save_thresholds,
    writing_thresholds,
)
from cavga.calibration.thresholds import SIGNIFICANT_DIGITS, Calibration
from cavga.errors import ModelFileError, UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.monitoring.recalibrate import rule_of_scores
from cavga.runs.model_json import load_description


@dataclass(frozen=True, repr=False)
class OperatingPoint:
    """What `set_operating_point` did."""

    old: Calibration
    new: Calibration
    path: Path

    def __repr__(self) -> str:
        return f"OperatingPoint({self.new.changes_from(self.old)}; {self.path})"


def set_operating_point(
    model: str | Path,
    *,
    false_alarm_rate: float | None = None,
    mask_false_alarm_rate: float | None = None,
    threshold: float | None = None,
) -> OperatingPoint:
    """Set a model's thresholds by the scores and peaks that it keeps of good photographs, and write them beside it.

    `threshold` in place of `false_alarm_rate` becomes the image threshold as it is, and guarantees nothing. What is not
    given stays as it is. Raises UsageError for a model with the paper's fixed cuts, unless it is a threshold that is
    given, and ModelFileError for a model that keeps no scores or peaks.
    """
    where, rates = Path(model), (false_alarm_rate, mask_false_alarm_rate)
    _check(rates, threshold)
    with writing_thresholds(where):
        description = _own_description(where)
        again = load_thresholds(where, description["weights_sha256"])
        old = Calibration.from_dict(description["calibration"]) if again is None else again.calibration
        new = old if rates == (None, None) else _at_rates(where, old, description, *rates)
        if threshold is not None:
            new = replace(new, threshold_rule=GIVEN, image_threshold=float(threshold), guaranteed_false_alarm_rate=None)
        before = description.get(NEW_THRESHOLDS_KEY, {}) if again is None else vars(again)
        stored = StoredCalibration(
            calibration=new,
            weights_sha256=description["weights_sha256"],
            photographs=before.get("photographs", NO_PHOTOGRAPHS),
            replaces={"image_threshold": old.image_threshold, "pixel_threshold": old.pixel_threshold},
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            cavga=__version__,
        )
        return OperatingPoint(old, new, save_thresholds(where, stored))


def _check(rates: Sequence[float | None], threshold: float | None) -> None:
    if threshold is None and rates == (None, None):
        raise UsageError("no operating point given: expected a false alarm rate, one of masks, or a threshold")
    if threshold is not None and rates[0] is not None:
        raise UsageError("a false alarm rate and a threshold exclude each other: give one of them")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"threshold: expected a finite number, got {threshold}")
    for rate in rates:
        if rate is not None and not 0 < rate < 1:
            raise UsageError(f"false alarm rate: expected a number between 0 and 1, got {rate}")


def _own_description(model: Path) -> dict[str, Any]:
    """What a run or an exported file says of itself."""
    if model.is_dir() or not model.exists():
        return load_description(model)
    return AnomalyDetector.load_as_trained(model, device="cpu").description


def _at_rates(
    model: Path,
    old: Calibration,
    description: dict[str, Any],
    false_alarm_rate: float | None,
    mask_false_alarm_rate: float | None,
) -> Calibration:
    """The calibration with thresholds at these rates, those that are given."""
    new, name = old, rule_of_scores(model, old, description)
    rule = RULES[name]
    if false_alarm_rate is not None:
        scores = _all_of(old.scores, old.num_scored, model, "scores")
        threshold, guaranteed = rule.image_threshold(scores, false_alarm_rate, old.image_score, None)
        new = replace(
            new, threshold_rule=name, false_alarm_rate=false_alarm_rate, image_threshold=threshold,
            guaranteed_false_alarm_rate=guaranteed,
        )  # fmt: skip
    if mask_false_alarm_rate is not None:
        peaks = _all_of(old.peaks, old.num_mapped, model, "peaks of maps")
        threshold, guaranteed = rule.pixel_threshold(peaks, mask_false_alarm_rate, None)
        new = replace(
            new, mask_false_alarm_rate=mask_false_alarm_rate, pixel_threshold=threshold,
            guaranteed_mask_false_alarm_rate=guaranteed,
        )  # fmt: skip
    return new


def _all_of(kept: Sequence[float], num: int, model: Path, what: str) -> Floats:
    """The `num` values that the kept ones stand for, none of them lower than it was.

    They are kept rounded, and of many only some, evenly spaced: each of the others becomes the next higher one kept.
    """
    if not kept:
        raise ModelFileError(
            f"{model} is of a version that kept no {what} of good photographs: give some "
            f"(`cavga calibrate {model} GOOD_PHOTOS`), or train again"
        )
    values = np.array(kept)
    digits = np.floor(np.log10(np.maximum(np.abs(values), np.finfo(np.float64).tiny)))
    highest = values + 0.5 * 10.0 ** (digits - SIGNIFICANT_DIGITS + 1)
    places = np.rint(np.linspace(0, num - 1, len(values)))
    found: Floats = highest[np.searchsorted(places, np.arange(num))]
    return found
