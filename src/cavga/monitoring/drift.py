"""Whether the scores of production images are still like those of the good images that set the thresholds. No torch.

The images carry no labels and some are defective, whose scores say nothing of a lamp. So the distributions are compared
below the threshold only, on both sides: if nothing changed, the scores that fall below it have one distribution,
however many defective parts lie above it, since the threshold is an order statistic of the good images' scores and
what lies below one is a sample of the truncated distribution. Conformal p-values tested for uniformity would need the
same cut, and all of them depend on the same few good images: the two-sample test takes that into account.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cavga.arrays import Floats
from cavga.calibration.stored import calibration_in_force, load_thresholds
from cavga.calibration.thresholds import Calibration, rounded
from cavga.errors import DataError, ModelFileError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import PREDICTIONS_FILE, damaged_line, read_predictions
from cavga.inference.prediction import Prediction
from cavga.metrics.significance import KolmogorovSmirnov, clopper_pearson, exceedance_p_value, kolmogorov_smirnov
from cavga.runs.model_json import load_description

LEVEL = 0.01  # of the whole verdict: how often it says drift where there is none
NUM_TESTS = 2  # all images, and the last part
NUM_PARTS = 5
MIN_PART = 10  # images
MIN_COMPARED = 5  # scores on each side, below which they are not compared


@dataclass(frozen=True)
class Part:
    """Consecutive images: how many, and how their scores lie to those that set the threshold.

    `median_p_value` is of the conformal p-values, (1 + good images that score as high) / (1 + good images): about 0.5
    where nothing changed, lower where scores are higher. `comparison` is None with too few scores below the threshold.
    """

    num_images: int
    num_predicted_anomalous: int
    interval: tuple[float, float]
    median_p_value: float
    comparison: KolmogorovSmirnov | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        found = self.comparison
        return {
            "images": self.num_images,
            "called_anomalous": self.num_predicted_anomalous,
            "share": self.num_predicted_anomalous / self.num_images,
            "interval": list(self.interval),
            "median_p_value": self.median_p_value,
            "ks_statistic": None if found is None else found.statistic,
            "ks_p_value": None if found is None else found.p_value,
        }


@dataclass(frozen=True)
class Drift:
    """What `detect_drift` found; `direction` is "none", "higher" or "lower", `verdict` says it in words."""

    whole: Part
    parts: tuple[Part, ...]
    predicted_p_value: float | None
    """How likely so many are predicted anomalous where all are good; None where no rate was promised."""
    direction: str
    verdict: str


@dataclass(frozen=True)
class Predictions:
    """The scores of predictions.jsonl in its order, how many lines have none, and the thresholds they were held to."""

    scores: Floats
    num_unreadable: int
    thresholds: frozenset[float]


def predictions_of(path: Path) -> Predictions:
    """The scores of predictions.jsonl, or the one in a folder; raises DataError."""
    file = path / PREDICTIONS_FILE if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} does not exist: `cavga predict MODEL IMAGES --output DIR` writes one")
    scores, thresholds, num_unreadable = [], set(), 0
    for number, line in enumerate(read_predictions(file), start=1):
        if line.score is None:
            num_unreadable += 1
            continue
        if line.threshold is None:
            raise damaged_line(file, number, "with threshold")
        scores.append(line.score)
        thresholds.add(line.threshold)
    if not scores:
        raise DataError(f"{file} holds no scores ({num_unreadable} images could not be read)")
    return Predictions(rounded(np.array(scores)), num_unreadable, frozenset(thresholds))


def scores_of(predictions: Iterable[Prediction]) -> Predictions:
    """The scores of predictions in their order, none of them unreadable; raises DataError without any."""
    found = [(prediction.score, prediction.threshold) for prediction in predictions]
    if not found:
        raise DataError("no predictions given: expected those of photographs, in the order in which they were taken")
    scores, thresholds = zip(*found, strict=True)
    return Predictions(rounded(np.array(scores)), 0, frozenset(thresholds))


def calibration_of(model: Path) -> Calibration:
    """The calibration of a model, with its scores; raises ModelFileError if it has none of them."""
    if model.is_dir():
        description = load_description(model)
        load_thresholds(model, description["weights_sha256"])  # a damaged one is an error, not to be passed over
        found = calibration_in_force(model, description)
    else:
        found = Calibration.from_dict(AnomalyDetector.load(model, device="cpu").description["calibration"])
    if not found.scores:
        raise ModelFileError(f"{model} does not hold the scores that set its thresholds: train or calibrate again")
    return found


def detect_drift(scores: Floats, calibration: Calibration) -> Drift:
    """Compare scores, in the order in which the images were taken, with those that set the threshold."""
    good = np.array(calibration.scores)
    whole = _part(scores, good, calibration.image_threshold)
    num_parts = min(NUM_PARTS, len(scores) // MIN_PART)
    cut = np.array_split(scores, num_parts) if num_parts > 1 else []
    parts = tuple(_part(part, good, calibration.image_threshold) for part in cut)
    direction = _direction([whole, *parts[-1:]])
    predicted_p_value = _predicted_p_value(whole, calibration)
    return Drift(whole, parts, predicted_p_value, direction, _verdict(direction, whole, predicted_p_value))


def _predicted_p_value(part: Part, calibration: Calibration) -> float | None:
    promised, num_good = calibration.guaranteed_false_alarm_rate, calibration.num_images
    if promised is None:
        return None
    rank = round((1 - promised) * (num_good + 1))
    return exceedance_p_value(part.num_predicted_anomalous, part.num_images, num_good=num_good, rank=rank)


def _part(scores: Floats, good: Floats, threshold: float) -> Part:
    is_predicted_anomalous = scores >= threshold
    num_predicted_anomalous = int(is_predicted_anomalous.sum())
    num_as_high = len(good) - np.searchsorted(good, scores, side="left")
    p_values = (1 + num_as_high) / (1 + len(good))
    below, normal_below = scores[~is_predicted_anomalous], good[good < threshold]
    is_enough = min(len(below), len(normal_below)) >= MIN_COMPARED
    return Part(
        num_images=len(scores),
        num_predicted_anomalous=num_predicted_anomalous,
        interval=clopper_pearson(num_predicted_anomalous, len(scores)),
        median_p_value=float(median(p_values.tolist())),
        comparison=kolmogorov_smirnov(normal_below, below) if is_enough else None,
    )


def _direction(tested: Sequence[Part]) -> str:
    """Where the scores went, by all images and by the last of them: an early calm must not hide a late drift."""
    if any(part.interval[0] > 0.5 for part in tested):  # too few are left below the threshold to say it
        return "higher"
    found = [part.comparison for part in tested if part.comparison is not None]
    surest = min(found, key=lambda comparison: comparison.p_value, default=None)
    if surest is None or surest.p_value >= LEVEL / NUM_TESTS:
        return "none"
    return "higher" if surest.is_higher else "lower"


def _verdict(direction: str, whole: Part, predicted_p_value: float | None) -> str:
    if direction != "none":
        return f"scores are {direction} than those that set the threshold: calibrate again"
    if predicted_p_value is not None and predicted_p_value < LEVEL:
        return (
            "no sign of drift below the threshold, but more images are predicted anomalous than good ones would be: "
            "look at them"
        )
    if whole.comparison is None:
        return "no sign of drift, but there are too few scores to compare"
    return "no sign of drift"


def as_dict(drift: Drift, predictions: Predictions, calibration: Calibration) -> Mapping[str, Any]:
    """Everything found as plain values, for --json."""
    return {
        **drift.whole.as_dict(),
        "unreadable": predictions.num_unreadable,
        "promised": calibration.guaranteed_false_alarm_rate,
        "threshold": calibration.image_threshold,
        "good_images": calibration.num_images,
        "called_p_value": drift.predicted_p_value,
        "parts": [part.as_dict() for part in drift.parts],
        "direction": drift.direction,
        "verdict": drift.verdict,
        "caveat": caveat(predictions, calibration),
    }


def caveat(predictions: Predictions, calibration: Calibration) -> str | None:
    """What to look into before the verdict is believed: the predictions may be another model's."""
    if predictions.thresholds == {calibration.image_threshold}:
        return None
    return (
        f"predicted with another threshold than the {calibration.image_threshold:.6g} of this model, which is used "
        "here: if the predictions are another model's, the verdict means nothing; predict again with this one"
    )
