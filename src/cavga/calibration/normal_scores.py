"""Where a score lies among those of the good photographs that set the threshold: a p-value, and words. No torch."""

from dataclasses import dataclass

import numpy as np

from cavga.arrays import Floats
from cavga.calibration.thresholds import Calibration, rounded

RARE = 0.1  # share of good photographs up to which "1 in N" says more than "N of 100"


@dataclass(frozen=True, eq=False)
class NormalScores:
    """The scores that a model keeps of its good photographs, ascending; of very many, evenly spaced quantiles."""

    scores: Floats
    num_photographs: int
    """How many photographs they stand for; of copies and groups each counts once."""

    @classmethod
    def of(cls, calibration: Calibration) -> "NormalScores | None":
        """Those of a calibration; None of a model from before they were kept."""
        if not calibration.scores:
            return None
        return cls(np.array(calibration.scores), calibration.num_scored)

    def num_as_high(self, score: float) -> int:
        """How many of the kept scores are at least as high, to as many digits as they are kept with."""
        return len(self.scores) - int(np.searchsorted(self.scores, rounded(np.array([score]))[0], side="left"))

    def p_value(self, score: float) -> float:
        """(1 + scores as high) / (1 + scores): a new photograph of a good part is at or below it that often at most.

        (Vovk et al. 2005, conformal p-value.) It is never below 1 / (1 + scores): so few can show no more.
        """
        return (1 + self.num_as_high(score)) / (1 + len(self.scores))

    def in_words(self, score: float) -> str:
        """The same for a person: "1 in 340 good ones scores this high"."""
        count, kept, total = self.num_as_high(score), len(self.scores), self.num_photographs
        if count == 0:
            return f"higher than all {total} good ones"
        if count == kept:
            return f"all {total} good ones score this high"
        if count <= RARE * kept:
            return f"1 in {kept / count:.0f} good ones scores this high"
        number, of = (count, kept) if kept < 100 else (min(round(100 * count / kept), 99), 100)
        return f"{number} of {of} good ones {'scores' if number == 1 else 'score'} this high"
