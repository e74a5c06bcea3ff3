"""Whether the scores that a server gives now are like those that set the model's threshold."""

import threading
from collections import deque

import numpy as np

from cavga.calibration.thresholds import Calibration, rounded
from cavga.monitoring.drift import Drift, detect_drift

WATCHED = 500  # the latest scores of a model that are compared
MIN_WATCHED = 20  # below which nothing is said


class ScoreWatch:
    """The latest scores of one model beside its calibration; used by several threads."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._scores: deque[float] = deque(maxlen=WATCHED)
        self._count = self._compared_at = 0
        self._drift: Drift | None = None
        self._lock = threading.Lock()

    def add(self, score: float) -> None:
        """One more score was given."""
        with self._lock:
            self._scores.append(score)
            self._count += 1

    @property
    def num_scores(self) -> int:
        return len(self._scores)

    def drift(self) -> Drift | None:
        """What `cavga drift` says of the latest scores; None with too few, or of a model that kept no good scores."""
        with self._lock:
            if len(self._scores) < MIN_WATCHED or not self.calibration.scores:
                return None
            if self._compared_at != self._count:
                self._drift = detect_drift(rounded(np.array(self._scores)), self.calibration)
                self._compared_at = self._count
            return self._drift
