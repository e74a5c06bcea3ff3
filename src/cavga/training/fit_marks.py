"""What marked photographs add to the score: which readout, along which direction, and by how much, if anything.

Every choice is made on images that what is chosen has not seen. Normal images are read by directions of the other
folds, marks by directions of the other marks. A readout counts only where that says that it lifts marks over the
threshold which it would itself bring about (docs/decisions/0027).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cavga.calibration.rules import conformal_threshold
from cavga.images.decode import BATCH_SIZE
from cavga.model.marks_head import READOUTS, MarksHead
from cavga.model.prior import SMALLEST_STD, AggregatedPrior, Energies
from cavga.shapes import LatentMap

SHRINKAGE = 0.5  # of the covariance towards that of independent features
WEIGHTS = (0.5, 1.0)  # of a readout beside the energy, both in standard deviations of normal images
NUM_HALF = 2  # marks with which a weight is half of what it is with very many
MAX_MARGIN = 2.0  # standard deviations from the threshold, beyond which a mark is found, or missed, anyway
DOUBT = 0.25  # standard deviations that a gain has to stand out from, beside what marks differ by
LEAST_EVIDENCE = 0.5  # sum of the gains of marks against the root of the sum of their squares
MAX_MADE_LOSS = 0.05  # of the made anomalies that were found before, as a share of all of them

Features = Float[Tensor, "images features"]
Scores = Float[Tensor, " images"]
MarkScores = Float[Tensor, " marks"]


@dataclass(frozen=True)
class Readings:
    """What is read of some images: the energy's scores, and the features of every readout."""

    scores: Scores
    features: Mapping[str, Features]


@dataclass(frozen=True)
class Normals:
    """Readings of normal images, each score by a prior that lacks it; the fold and the unit of each."""

    readings: Readings
    folds: NDArray[np.intp]
    units: NDArray[np.intp]


@dataclass(frozen=True)
class MarksFit:
    """What was chosen; `head` is None, and the scores are the energy's, where no readout earned a weight."""

    head: MarksHead | None
    weight: float
    gain: float
    """By how many standard deviations it lifts a mark over the threshold, each read without itself."""
    normal_scores: Scores
    """Of the normal images, each by a direction that lacks its fold."""
    mark_scores: MarkScores
    """Of the marks, each by a direction that lacks it."""

    def scores_of(self, images: Readings) -> Scores:
        """Of images that nothing was fitted to."""
        if self.head is None:
            return images.scores
        return images.scores + images.features[self.head.readout] @ self.head.direction + self.head.offset


@torch.no_grad()
def read_images(prior: AggregatedPrior, z: LatentMap, energies: Energies) -> Readings:
    """The readings of images whose energies are known; z in half precision."""
    scores, local = prior.joined(energies)[1], prior.local_deviations(energies)
    pairs = list(zip(z.split(BATCH_SIZE), local.split(BATCH_SIZE), strict=True))  # type: ignore[no-untyped-call]
    features = {name: torch.cat([read(some.float(), e) for some, e in pairs]) for name, read in READOUTS.items()}
    return Readings(scores, features)


@torch.no_grad()
def fit_marks(normals: Normals, marks: Readings, made: Readings, rate: float) -> MarksFit:
    """Choose among READOUTS and WEIGHTS, or nothing, for a false-alarm rate.

    A single mark cannot be left out, so it adds nothing. What finds MAX_MADE_LOSS fewer of the `made` anomalies than
    the energy alone is no choice: marks of one kind are not to hide the others.
    """
    best = MarksFit(None, 0.0, 0.0, normals.readings.scores, marks.scores)
    if len(marks.scores) < 2:
        return best
    before, count = _margins(best, normals, rate), len(marks.scores)
    least = _made_found(best, normals, made, rate) - MAX_MADE_LOSS
    for name in READOUTS:
        fitted = _CrossFit.of(name, normals, marks)
        for largest in WEIGHTS:
            found = fitted.weighted(largest * count / (count + NUM_HALF), normals, marks)
            gains = _margins(found, normals, rate) - before
            evidence = float(gains.sum() / (gains.square().sum() + DOUBT**2).sqrt())
            is_better = evidence > LEAST_EVIDENCE and float(gains.mean()) > best.gain
            if is_better and _made_found(found, normals, made, rate) >= least:
                best = MarksFit(found.head, found.weight, float(gains.mean()), found.normal_scores, found.mark_scores)
    return best


def _margins(found: MarksFit, normals: Normals, rate: float) -> MarkScores:
    """How far each mark lies above the threshold that normal images set, within MAX_MARGIN."""
    threshold, _ = conformal_threshold(found.normal_scores.numpy(), rate, normals.units)
    std = found.normal_scores.std(correction=0).clamp_min(SMALLEST_STD)
    return ((found.mark_scores - threshold) / std).clamp(-MAX_MARGIN, MAX_MARGIN)


def _made_found(found: MarksFit, normals: Normals, made: Readings, rate: float) -> float:
    """The share of made anomalies that reach the threshold which normal images set; 0 of none."""
    if not len(made.scores):
        return 0.0
    threshold, _ = conformal_threshold(found.normal_scores.numpy(), rate, normals.units)
    return float((found.scores_of(made) >= threshold).float().mean())


@dataclass(frozen=True)
class _CrossFit:
    """A readout along directions, in standard deviations of normal images that each direction has not seen."""

    name: str
    normal: Scores
    marks: MarkScores
    direction: Float[Tensor, " features"]
    offset: float

    @classmethod
    def of(cls, name: str, normals: Normals, marks: Readings) -> "_CrossFit":
        features, bad = normals.readings.features[name].double(), marks.features[name].double()
        along = features.new_zeros(len(features))
        for fold in np.unique(normals.folds):
            held = torch.from_numpy(normals.folds == fold)
            seen = features[~held] if not bool(held.all()) else features
            along[held] = _Background.of(seen).along(bad.mean(dim=0), features[held])
        mean, std = along.mean(), along.std(correction=0).clamp_min(SMALLEST_STD)
        background = _Background.of(features)
        left_out = [
            background.along(bad[torch.arange(len(bad)) != i].mean(dim=0), bad[i : i + 1]) for i in range(len(bad))
        ]
        direction, offset = background.towards(bad.mean(dim=0))
        return cls(
            name, ((along - mean) / std).float(), ((torch.cat(left_out) - mean) / std).float(),
            (direction / std).float(), float((offset - mean) / std),
        )  # fmt: skip

    def weighted(self, weight: float, normals: Normals, marks: Readings) -> MarksFit:
        head = MarksHead(self.name, len(self.direction))
        head.direction.copy_(weight * self.direction)
        head.offset.fill_(weight * self.offset)
        return MarksFit(
            head, weight, 0.0, normals.readings.scores + weight * self.normal, marks.scores + weight * self.marks
        )


@dataclass(frozen=True)
class _Background:
    """Mean, standard deviations and shrunk correlations of the features of normal images."""

    mean: Float[Tensor, " features"]
    std: Float[Tensor, " features"]
    correlations: Float[Tensor, "features features"]

    @classmethod
    def of(cls, features: Features) -> "_Background":
        mean, std = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(SMALLEST_STD)
        rows = (features - mean) / std
        own = torch.eye(features.shape[1], dtype=features.dtype)
        return cls(mean, std, (1 - SHRINKAGE) * (rows.T @ rows) / len(rows) + SHRINKAGE * own)

    def towards(self, bad: Float[Tensor, " features"]) -> tuple[Float[Tensor, " features"], Tensor]:
        """Fisher's discriminant from normal to the mean of bad images, of unit variance by the shrunk correlations."""
        direction = torch.linalg.solve(self.correlations, (bad - self.mean) / self.std)
        length = (direction @ self.correlations @ direction).clamp_min(SMALLEST_STD**2).sqrt()
        direction = direction / length / self.std
        return direction, -(self.mean @ direction)

    def along(self, bad: Float[Tensor, " features"], features: Features) -> Scores:
        """Features along the direction towards `bad`."""
        direction, offset = self.towards(bad)
        return features @ direction + offset
