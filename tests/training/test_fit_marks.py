import numpy as np
import pytest
import torch

from cavga.calibration.rules import conformal_threshold
from cavga.model.marks_head import READOUTS
from cavga.training.fit_marks import WEIGHTS, Normals, Readings, fit_marks

RATE = 0.05
NOTHING = {"count": 0, "shift": 0.0, "score": 0.0, "seed": 0}


def readings(count: int, *, shift: float, score: float, seed: int) -> Readings:
    """Scores about `score`; of both readouts the first feature is off by `shift`."""
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(count, 6, generator=generator) for name in READOUTS}
    for values in features.values():
        values[:, 0] += shift
    return Readings(score + torch.randn(count, generator=generator), features)


def normals(count: int = 100) -> Normals:
    return Normals(readings(count, shift=0, score=0, seed=0), np.arange(count) % 5, np.arange(count))


def found(fit, images: Readings) -> float:
    threshold, _ = conformal_threshold(fit.normal_scores.numpy(), RATE)
    return float((fit.scores_of(images) >= threshold).float().mean())


def test_marks_that_a_readout_tells_apart_lift_others_of_their_kind():
    others = readings(200, shift=6, score=1, seed=2)
    without = fit_marks(normals(), readings(1, shift=6, score=1, seed=1), readings(**NOTHING), RATE)
    fit = fit_marks(normals(), readings(5, shift=6, score=1, seed=1), readings(**NOTHING), RATE)
    assert fit.head is not None
    assert found(fit, others) > found(without, others) + 0.3
    good = readings(2000, shift=0, score=0, seed=3)
    assert found(fit, good) < 2 * RATE


@pytest.mark.parametrize("seed", range(5))
def test_marks_that_nothing_tells_apart_hardly_ever_add_anything(seed):
    fit = fit_marks(normals(), readings(5, shift=0, score=4, seed=10 + seed), readings(**NOTHING), RATE)
    assert fit.head is None or found(fit, readings(500, shift=0, score=4, seed=99)) > 0.9


def test_a_single_mark_adds_nothing():
    fit = fit_marks(normals(), readings(1, shift=9, score=0, seed=1), readings(**NOTHING), RATE)
    assert (fit.head, fit.weight) == (None, 0.0)


def test_the_weight_grows_with_the_number_of_marks():
    weights = [
        fit_marks(normals(), readings(n, shift=8, score=0, seed=1), readings(**NOTHING), RATE).weight
        for n in (3, 5, 40)
    ]
    assert 0 < weights[0] < weights[1] < weights[2] < max(WEIGHTS)


def test_no_mark_and_no_normal_image_is_read_by_a_direction_that_has_seen_it():
    marks = readings(4, shift=7, score=1, seed=1)
    moved = Readings(marks.scores, {name: values.clone() for name, values in marks.features.items()})
    fit = fit_marks(normals(), marks, readings(**NOTHING), RATE)
    assert fit.head is not None
    name = fit.head.readout
    # Along its own direction alone a mark far off in a feature of its own would score far higher.
    moved.features[name][0, 5] += 30
    alone = fit_marks(normals(), moved, readings(**NOTHING), RATE)
    others = [i for i in range(4) if i != 0]
    assert not torch.allclose(alone.mark_scores[others], fit.mark_scores[others])
    data = normals()
    data.readings.features[name][0, 4] += 50
    changed = fit_marks(data, marks, readings(**NOTHING), RATE)
    same_fold = np.flatnonzero(data.folds == data.folds[0])[1:]
    rest = fit_marks(normals(), marks, readings(**NOTHING), RATE)
    a, b = (f.normal_scores[same_fold] - f.normal_scores[same_fold].mean() for f in (changed, rest))
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.999  # its own fold is read by the same direction, rescaled


def test_marks_that_would_hide_made_anomalies_add_nothing():
    marks = readings(5, shift=6, score=1, seed=1)
    alike, opposite = (readings(64, shift=shift, score=3, seed=4) for shift in (6, -6))
    assert fit_marks(normals(), marks, alike, RATE).head is not None
    without = fit_marks(normals(), readings(1, shift=6, score=1, seed=1), opposite, RATE)
    assert found(without, opposite) > 0.5
    assert fit_marks(normals(), marks, opposite, RATE).head is None
