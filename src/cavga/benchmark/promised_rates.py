"""What comes of the false-alarm rates that a model could promise: recall, and the rate on the good test photographs."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from cavga.calibration.rules import RULES
from cavga.calibration.thresholds import Calibration
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.inference.lines import read_predictions

PROMISED_RATES = (0.05, 0.01)


def at_promised_rates(calibration: Calibration, predictions: Path) -> dict[str, dict[str, Any]] | None:
    """By rate: what is guaranteed, recall and realised rate at the threshold that good training photographs set.

    `recall_at_true` is the recall of the lowest threshold that at most that share of the good test photographs reach:
    it is taken from the test, for comparison alone. None for a rule that promises no rate.
    """
    rule = RULES[calibration.threshold_rule]
    if not rule.follows_scores:
        return None
    lines = list(read_predictions(predictions))
    good, bad = (
        np.array([line.score for line in lines if line.label == label and line.score is not None], dtype=np.float32)
        for label in (NORMAL, ANOMALOUS)
    )
    known, found = np.array(calibration.scores, dtype=np.float32), {}
    for rate in PROMISED_RATES:
        threshold, guaranteed = rule.image_threshold(known, rate, calibration.image_score, None)
        num_allowed = math.floor(rate * len(good) + 1e-9)
        highest = np.sort(good)[::-1][num_allowed] if len(good) > num_allowed else -np.inf
        found[str(rate)] = {
            "guaranteed": guaranteed,
            "threshold": threshold,
            "recall": _share(bad >= threshold),
            "false_alarm_rate": _share(good >= threshold),
            "recall_at_true": _share(bad > highest),
        }
    return found


def _share(reached: np.ndarray[Any, np.dtype[np.bool_]]) -> float | None:
    return float(reached.mean()) if len(reached) else None
