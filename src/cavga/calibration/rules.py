"""The rules by which thresholds follow from scores of normal images, one entry each. No torch.

A new rule is an entry here and a choice of `threshold_rule` in cavga.config.schema.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Units = NDArray[np.intp]  # which unit each score is of; None where each is one by itself
Facts = Mapping[str, Any]  # of a calibration, as JSON holds them

PAPER_CUT = 0.5  # the text: of the normalised score, and of 1 - A


@dataclass(frozen=True)
class ThresholdRule:
    """How a rule sets both thresholds, and what is said of it."""

    image_threshold: Callable[[Scores, float, str, Units | None], tuple[float, float | None]]
    """Of the scores, the wanted false-alarm rate, what the score is, units: a threshold, and the rate it guarantees."""
    pixel_threshold: Callable[[Scores, float, Units | None], tuple[float, float | None]]
    """Of the peaks of the maps, the wanted rate and units: a threshold, and the rate it guarantees."""
    follows_scores: bool
    """Whether other normal images would set other thresholds, so that folds and `cavga calibrate` make sense."""
    guarantee: Callable[[Facts], str]
    """What the image threshold can be trusted to do, in one sentence."""
    mask_guarantee: Callable[[Facts], str]
    """What the mask threshold can be trusted to do, in one sentence; of facts that say what it guarantees."""
    summary: Callable[[Facts], str]
    """How the thresholds were set, in a few words; whatever version wrote the facts."""


def conformal_threshold(scores: Scores, rate: float, units: Units | None = None) -> tuple[float, float]:
    """The threshold that a new normal image reaches with probability at most `rate`, and that probability.

    The k-th smallest of n scores with k = ceil((n + 1)(1 - rate)), and the next float above it, so that
    the image that set it does not reach it. With n scores nothing below 1 / (n + 1) can be guaranteed;
    then k = n and that is returned (Vovk et al. 2005, split conformal prediction).

    Scores of one unit, such as copies of one photograph, weigh as much together as a score that stands alone, and n
    counts units (Lee, Barber & Willett 2023, distribution-free inference with hierarchical data).
    """
    order = np.argsort(scores, kind="stable")
    weights = 1 / _sizes(np.arange(len(scores)) if units is None else np.asarray(units))
    places = np.cumsum(weights[order])
    num_units = round(float(places[-1]))
    k = min(int(np.searchsorted(places, (num_units + 1) * (1 - rate) - 1e-9)), len(scores) - 1)
    k = int(np.searchsorted(scores[order], scores[order[k]], side="right")) - 1  # equal scores are all below it
    threshold = np.nextafter(np.float32(scores[order[k]]), np.float32(np.inf))
    return float(threshold), 1 - float(places[k]) / (num_units + 1)


def _sizes(units: Units) -> NDArray[np.intp]:
    """How many scores the unit of each score has."""
    _, positions, counts = np.unique(units, return_inverse=True, return_counts=True)
    sizes: NDArray[np.intp] = counts[positions]
    return sizes


def num_needed(rate: float) -> int:
    """How many normal images it takes to guarantee a false alarm rate."""
    return math.ceil(1 / rate - 1e-9) - 1


def _conformal_guarantee(facts: Facts) -> str:
    rate, wanted = facts["promised_false_alarm_rate"], facts["false_alarm_rate"]
    known_by = _known_by(facts, facts["num_images"], facts.get("num_units", 0))
    if is_too_few(rate, wanted):
        return (
            f"{_as_subject(known_by)} can {_verb(facts)} no less than a false alarm rate of {rate:.3f}; {wanted} was "
            f"asked for: give it at least {num_needed(wanted)} different ones"
        )
    return _promise(facts, rate, "are predicted anomalous", known_by)


def _conformal_mask_guarantee(facts: Facts) -> str:
    rate, wanted = facts["guaranteed_mask_false_alarm_rate"], facts["mask_false_alarm_rate"]
    number, total = facts["num_mask_images"], facts["num_images"]
    known_by = _known_by(facts, number, facts.get("num_mask_units", 0))
    if number < total:
        known_by = f"{number} of {total} normal images, which its attention was not trained on"
    if is_too_few(rate, wanted):
        return (
            f"{_as_subject(known_by)} can {_verb(facts)} no less than a mask false alarm rate of {rate:.3f}; {wanted} "
            f"was asked for: give it at least {num_needed(wanted)} different ones"
            + (f", by about {math.ceil(num_needed(wanted) * total / number)} normal images" if number < total else "")
        )
    return _promise(facts, rate, "have anything in their mask", known_by)


def _promise(facts: Facts, rate: float, what: str, known_by: str) -> str:
    """A theorem where images were held out; of folds an estimate, for every model of theirs lacks other images."""
    if _is_folded(facts):
        return f"about {rate:.3f} of normal images {what}: an estimate from {known_by}"
    return f"at most {rate:.3f} of normal images {what} on average, if they are like the {known_by}"


def _verb(facts: Facts) -> str:
    return "estimate" if _is_folded(facts) else "promise"


def _is_folded(facts: Facts) -> bool:
    return facts["num_folds"] > 1


def _known_by(facts: Facts, number: int, num_units: int) -> str:
    images = f"{number} normal images" if _is_folded(facts) else f"{number} held-out normal images"
    if 0 < num_units < number:
        images = f"{num_units} different photographs or groups among {images}"
    return f"{images}, each scored by a model fitted without it" if _is_folded(facts) else images


def _as_subject(images: str) -> str:
    """With the comma that ends a clause."""
    return f"{images}," if "," in images else images


def is_too_few(rate: float, wanted: float) -> bool:
    """Whether what is guaranteed is more than what was asked for, as with too few images."""
    return rate > wanted + 1e-9


def _conformal_summary(facts: Facts) -> str:
    folds, count = facts["num_folds"], facts["num_images"]
    how = f"{folds} folds of {count} good images" if folds > 1 else f"{count} held-out good images"
    return f"{facts['false_alarm_rate']:.0%} false alarms asked for, {how}"


def _fixed_threshold(scores: Scores, _rate: float, image_score: str, _units: Units | None = None) -> tuple[float, None]:
    """Paper: 0.5 of the score normalised by these images; of a classifier the larger logit."""
    return 0.0 if image_score == "class" else float(PAPER_CUT * (scores.min() + scores.max())), None


def _fixed_guarantee(facts: Facts) -> str:
    if facts["image_score"] == "class":
        return (
            "an image is predicted anomalous where the classifier's anomalous logit is at least the normal one "
            "(the paper's rule); that promises no false alarm rate"
        )
    return (
        f"the image threshold is the middle between the lowest and highest score of {facts['num_images']} "
        "held-out normal images (the paper's rule); it promises no false alarm rate"
    )


def _fixed_mask_guarantee(_facts: Facts) -> str:
    return f"the mask threshold is {PAPER_CUT} (the paper's rule); it promises no false alarm rate"


def _fixed_summary(facts: Facts) -> str:
    if facts.get("image_score") == "class":
        return "the classifier's decision"
    return f"0.5 of the range over {facts['num_images']} held-out good images"


def _given_guarantee(facts: Facts) -> str:
    said = f"the image threshold {facts['image_threshold']:.6g} was given by hand: it guarantees no false alarm rate"
    scores = facts["scores"]
    if not scores:
        return said
    share = sum(score >= facts["image_threshold"] for score in scores) / len(scores)
    return f"{said}; {share:.1%} of the good scores that the model keeps reach it"


def _given_mask_guarantee(facts: Facts) -> str:
    is_fixed = facts["guaranteed_mask_false_alarm_rate"] is None
    return _fixed_mask_guarantee(facts) if is_fixed else _conformal_mask_guarantee(facts)


_CONFORMAL = ThresholdRule(
    image_threshold=lambda scores, rate, _score, units: conformal_threshold(scores, rate, units),
    pixel_threshold=conformal_threshold,
    follows_scores=True,
    guarantee=_conformal_guarantee,
    mask_guarantee=_conformal_mask_guarantee,
    summary=_conformal_summary,
)
GIVEN = "given"  # no choice of a configuration: a threshold of the user's own, until scores set another
RULES = {
    "conformal": _CONFORMAL,
    GIVEN: replace(
        _CONFORMAL,
        guarantee=_given_guarantee,
        mask_guarantee=_given_mask_guarantee,
        summary=lambda _facts: "an image threshold given by hand",
    ),
    "fixed": ThresholdRule(
        image_threshold=_fixed_threshold,
        pixel_threshold=lambda _peaks, _rate, _units: (PAPER_CUT, None),
        follows_scores=False,
        guarantee=_fixed_guarantee,
        mask_guarantee=_fixed_mask_guarantee,
        summary=_fixed_summary,
    ),
}
