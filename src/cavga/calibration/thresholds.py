"""Thresholds from held-out normal images, never from the test set, and what they can guarantee. No torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.calibration.rules import RULES
from cavga.config.schema import CalibrationConfig
from cavga.errors import DataError

MAX_SCORES = 1000  # kept with the thresholds, to compare later scores with
SIGNIFICANT_DIGITS = 6  # of each of them
KEPT = ("scores", "peaks")  # of the good photographs, in a calibration
FILE_KEYS = {"guaranteed_false_alarm_rate": "promised_false_alarm_rate"}  # files keep the name they had first


@dataclass(frozen=True)
class Calibration:
    """The thresholds of a model and where they come from; `score >= threshold` means anomalous.

    `guaranteed_false_alarm_rate` is the smallest rate that `num_images` held-out normals can guarantee if
    the asked-for one is below it; None where the rule guarantees nothing. `num_folds` is 1 if the
    images were held out; else each was scored by a model fitted without its fold. `scores` are those of
    the images, sorted; models from before they were kept have none. `guaranteed_mask_false_alarm_rate` is the same of
    masks, by the `num_mask_images` of them whose maps count; 0 of them in models from before that was kept.
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
    guaranteed_mask_false_alarm_rate: float | None = None
    num_mask_images: int = 0
    num_units: int = 0
    """Of copies and other groups each counts once, here and in `scores`; 0 in models from before they were counted."""
    num_mask_units: int = 0
    peaks: tuple[float, ...] = ()
    """The highest values of the maps, kept as `scores` are; models from before they were kept have none."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """The inverse of `as_dict`, also for what was JSON; raises TypeError for other fields."""
        fields_of = {key: field for field, key in FILE_KEYS.items()}
        content = {fields_of.get(key, key): value for key, value in values.items()}
        kept = {name: tuple(values.get(name, ())) for name in KEPT}
        return cls(**{**content, **kept})

    def changes_from(self, old: "Calibration") -> str:
        """Both thresholds, before and now, in words."""
        return (
            f"image threshold {old.image_threshold:.6g} -> {self.image_threshold:.6g}, "
            f"mask threshold {old.pixel_threshold:.6g} -> {self.pixel_threshold:.6g}"
        )

    def as_dict(self) -> dict[str, Any]:
        """As files hold it."""
        return {FILE_KEYS.get(field, field): value for field, value in asdict(self).items()}

    @property
    def num_scored(self) -> int:
        """How many photographs `scores` stand for."""
        return len(self.scores) if len(self.scores) < MAX_SCORES else self.num_units or self.num_images

    @property
    def num_mapped(self) -> int:
        """How many photographs `peaks` stand for."""
        return len(self.peaks) if len(self.peaks) < MAX_SCORES else self.num_mask_units or self.num_mask_images

    def guarantee(self) -> str:
        """One sentence for the user: what the image threshold can be trusted to do."""
        return RULES[self.threshold_rule].guarantee(self.as_dict())

    def mask_guarantee(self) -> str | None:
        """The same of the mask threshold; None of a model that does not say."""
        return RULES[self.threshold_rule].mask_guarantee(self.as_dict()) if self.num_mask_images else None

    def guarantees(self) -> list[str]:
        """Both sentences, as far as there are any."""
        masks = self.mask_guarantee()
        return [self.guarantee()] if masks is None else [self.guarantee(), masks]


def rounded(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Scores as they are kept, so that those of one image compare as equal."""
    return np.array([float(f"{score:.{SIGNIFICANT_DIGITS}g}") for score in scores], dtype=np.float64)


def kept_scores(scores: NDArray[np.float32]) -> tuple[float, ...]:
    """The scores that stay with the thresholds: sorted, rounded; of many, evenly spaced quantiles."""
    in_order = np.sort(scores)
    if len(in_order) > MAX_SCORES:
        in_order = in_order[np.rint(np.linspace(0, len(in_order) - 1, MAX_SCORES)).astype(np.intp)]
    return tuple(rounded(in_order).tolist())


def _one_of_each(scores: NDArray[np.float32], units: NDArray[np.intp]) -> NDArray[np.float32]:
    """The middle score of every unit."""
    by_unit = np.lexsort((scores, units))
    _, starts, counts = np.unique(units[by_unit], return_index=True, return_counts=True)
    middle: NDArray[np.float32] = scores[by_unit[starts + (counts - 1) // 2]]
    return middle


def calibrate(
    results: Iterable[tuple[float, NDArray[np.float32] | None]],
    config: CalibrationConfig,
    *,
    image_score: str = "map",
    num_folds: int = 1,
    units: Sequence[int] | None = None,
) -> Calibration:
    """Thresholds from the (score, anomaly map) of each held-out normal image; `image_score` as in ModelConfig.

    `units` says which of them are copies of one photograph, or of one group: those have one number, and count as one.
    None in place of a map: that image was held out from what scores it, but not from what draws its map.
    The pixel threshold is what the map of a new normal image reaches anywhere with probability at most
    `mask_false_alarm_rate` (docs/decisions/0013).
    """
    scores: list[float] = []
    peaks, mapped = [], []
    for score, anomaly_map in results:
        if anomaly_map is not None:
            peaks.append(anomaly_map.max())
            mapped.append(len(scores))
        scores.append(score)
    if not scores or not peaks:
        raise DataError("no normal image is left to set thresholds with: expected at least 2 good images")
    raw = np.array(scores, dtype=np.float32)
    rule = RULES[config.threshold_rule]
    numbers = np.arange(len(scores)) if units is None else np.asarray(units, dtype=np.intp)
    image_threshold, guaranteed = rule.image_threshold(raw, config.false_alarm_rate, image_score, numbers)
    pixel_threshold, mask_guaranteed = rule.pixel_threshold(
        np.array(peaks, dtype=np.float32), config.mask_false_alarm_rate, numbers[mapped]
    )
    return Calibration(
        threshold_rule=config.threshold_rule,
        num_images=len(scores),
        num_folds=num_folds,
        false_alarm_rate=config.false_alarm_rate,
        guaranteed_false_alarm_rate=guaranteed,
        mask_false_alarm_rate=config.mask_false_alarm_rate,
        image_threshold=image_threshold,
        pixel_threshold=pixel_threshold,
        score_min=float(raw.min()),
        score_max=float(raw.max()),
        image_score=image_score,
        scores=kept_scores(_one_of_each(raw, numbers)),
        guaranteed_mask_false_alarm_rate=mask_guaranteed,
        num_mask_images=len(peaks),
        num_units=len(np.unique(numbers)),
        num_mask_units=len(np.unique(numbers[mapped])),
        peaks=kept_scores(_one_of_each(np.array(peaks, dtype=np.float32), numbers[mapped])),
    )


def decision_warning(counts: dict[str, int], calibration: Calibration) -> str | None:
    """What is wrong with a weakly supervised model's decisions on its own training images; None if nothing is."""
    if not counts["num_bad"]:
        return None
    # Only where C decides alone is it C that is wrong; elsewhere held-out images set the threshold.
    is_c_alone = calibration.image_score == "class" and not RULES[calibration.threshold_rule].follows_scores
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
