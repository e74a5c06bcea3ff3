"""Thresholds from held-out normal images, never from the test set, and what they can guarantee. No torch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.config.schema import CalibrationConfig
from cavga.errors import DataError

MAX_SCORES = 1000  # kept with the thresholds, to compare later scores with
SIGNIFICANT_DIGITS = 6  # of each of them
FILE_KEYS = {"guaranteed_false_alarm_rate": "promised_false_alarm_rate"}  # files keep the name they had first


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a model and where they come from; `score >= threshold` means anomalous.

    `guaranteed_false_alarm_rate` is the smallest rate that `num_images` held-out normals can guarantee if
    the asked-for one is below it; None where the rule guarantees nothing. `num_folds` is 1 if the
    images were held out; else each was scored by a model fitted without its fold. `scores` are those of
    the images, sorted; models from before they were kept have none.
    """

    threshold_rule: str
    num_images: int
    num_folds: int
    false_alarm_rate: float
    guaranteed_false_alarm_rate: float | None
    mask_false_alarm_rate: float
    image_threshold: float
    pixel_threshold: float
    score_min: float
    score_max: float
    image_score: str = "map"
    scores: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """The inverse of `as_dict`, also for what was JSON; raises TypeError for other fields."""
        fields_of = {key: field for field, key in FILE_KEYS.items()}
        content = {fields_of.get(key, key): value for key, value in values.items()}
        return cls(**{**content, "scores": tuple(values.get("scores", ()))})

    def as_dict(self) -> dict[str, Any]:
        """As files hold it."""
        return {FILE_KEYS.get(field, field): value for field, value in asdict(self).items()}

    def guarantee(self) -> str:
        """One sentence for the user: what the image threshold can be trusted to do."""
        if self.guaranteed_false_alarm_rate is None and self.image_score == "class":
            return (
                "an image is predicted anomalous where the classifier's anomalous logit is at least the normal one "
                "(the paper's rule); that promises no false alarm rate"
            )
        if self.guaranteed_false_alarm_rate is None:
            return (
                f"the image threshold is the middle between the lowest and highest score of {self.num_images} "
                "held-out normal images (the paper's rule); it promises no false alarm rate"
            )
        held_out = f"{self.num_images} held-out normal images"
        if self.num_folds > 1:
            held_out = f"{self.num_images} normal images, each scored without its fold ({self.num_folds} folds),"
        if self.guaranteed_false_alarm_rate > self.false_alarm_rate + 1e-9:
            return (
                f"{held_out} can promise no less than a false alarm rate of "
                f"{self.guaranteed_false_alarm_rate:.3f}; {self.false_alarm_rate} was asked for: give it at least "
                f"{num_needed(self.false_alarm_rate)} of them"
            )
        return (
            f"at most {self.guaranteed_false_alarm_rate:.3f} of normal images are predicted anomalous on average, "
            f"if they are like the {held_out.removesuffix(',')}"
        )


def rounded(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores as they are kept, so that those of one image compare as equal."""
    return np.array([float(f"{score:.{SIGNIFICANT_DIGITS}g}") for score in scores], dtype=np.float64)


def kept_scores(scores: NDArray[np.float32]) -> tuple[float, ...]:
    """The scores that stay with the thresholds: sorted, rounded; of many, evenly spaced quantiles."""
    in_order = np.sort(scores)
    if len(in_order) > MAX_SCORES:
        in_order = in_order[np.rint(np.linspace(0, len(in_order) - 1, MAX_SCORES)).astype(np.intp)]
    return tuple(rounded(in_order).tolist())


def num_needed(rate: float) -> int:
    """How many normal images it takes to promise a false alarm rate."""
    return math.ceil(1 / rate - 1e-9) - 1


def conformal_threshold(scores: NDArray[np.float32], rate: float) -> tuple[float, float]:
    """The threshold that a new normal image reaches with probability at most `rate`, and that probability.

    The k-th smallest of n scores with k = ceil((n + 1)(1 - rate)), and the next float above it, so that
    the image that set it does not reach it. With n scores nothing below 1 / (n + 1) can be promised;
    then k = n and that is returned (Vovk et al. 2005, split conformal prediction).
    """
    n = len(scores)
    k = min(math.ceil((n + 1) * (1 - rate) - 1e-9), n)
    threshold = np.nextafter(np.float32(np.sort(scores)[k - 1]), np.float32(np.inf))
    return float(threshold), 1 - k / (n + 1)


def calibrate(
    results: Iterable[tuple[float, NDArray[np.float32] | None]],
    config: CalibrationConfig,
    *,
    image_score: str = "map",
    num_folds: int = 1,
) -> Calibration:
    """Thresholds from the (score, anomaly map) of each held-out normal image; `image_score` as in ModelConfig.

    None in place of a map: that image was held out from what scores it, but not from what draws its map.
    The pixel threshold is what the map of a new normal image reaches anywhere with probability at most
    `mask_false_alarm_rate` (docs/decisions/0013).
    """
    scores, peaks = [], []
    for score, anomaly_map in results:
        scores.append(score)
        if anomaly_map is not None:
            peaks.append(anomaly_map.max())
    if not scores or not peaks:
        raise DataError("no normal image is left to set thresholds with: expected at least 2 good images")
    raw = np.array(scores, dtype=np.float32)
    if config.threshold_rule == "conformal":
        image_threshold, promised = conformal_threshold(raw, config.false_alarm_rate)
        pixel_threshold, _ = conformal_threshold(np.array(peaks, dtype=np.float32), config.mask_false_alarm_rate)
    else:  # Paper: 0.5 of the normalised score and 0.5 of 1 - A; normalised here by held-out normals
        # and for a classifier the class with the larger logit
        image_threshold = 0.0 if image_score == "class" else float((raw.min() + raw.max()) / 2)
        promised, pixel_threshold = None, 0.5
    return Calibration(
        threshold_rule=config.threshold_rule,
        num_images=len(scores),
        num_folds=num_folds,
        false_alarm_rate=config.false_alarm_rate,
        guaranteed_false_alarm_rate=promised,
        mask_false_alarm_rate=config.mask_false_alarm_rate,
        image_threshold=image_threshold,
        pixel_threshold=pixel_threshold,
        score_min=float(raw.min()),
        score_max=float(raw.max()),
        image_score=image_score,
        scores=kept_scores(raw),
    )


def decision_warning(counts: dict[str, int], calibration: Calibration) -> str | None:
    """What is wrong with a weakly supervised model's decisions on its own training images; None if nothing is."""
    if not counts["num_bad"]:
        return None
    # Only where C decides alone is it C that is wrong; elsewhere held-out images set the threshold.
    is_c_alone = calibration.image_score == "class" and calibration.threshold_rule == "fixed"
    if not counts["bad_called_anomalous"]:
        why = (
            "the classifier calls everything normal"
            if is_c_alone
            else "the held-out good images that set the threshold score as high; have a look at them"
        )
        return f"none of the {counts['num_bad']} labelled bad training images is predicted anomalous: {why}"
    if counts["good_called_anomalous"] == counts["num_good"]:
        why = "the classifier calls everything anomalous" if is_c_alone else "the threshold lies below them all"
        return f"all {counts['num_good']} good training images are predicted anomalous: {why}"
    return None
