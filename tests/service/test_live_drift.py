"""The drift of the scores that a server gives."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cavga.calibration.thresholds import Calibration
from cavga.service.live_drift import MIN_WATCHED, WATCHED, ScoreWatch
from cavga.service.meters import Meters
from tests.conftest import GOLDEN


@pytest.fixture
def calibration():
    stored = Calibration.from_dict(json.loads((GOLDEN / "model.json").read_text())["calibration"])
    scores = tuple(np.sort(np.random.default_rng(0).normal(10, 1, 200)).tolist())
    return replace(stored, scores=scores, num_images=200, image_threshold=scores[190])


@pytest.mark.parametrize(("shift", "direction"), [(0, 0.0), (1.5, 1.0), (-1.5, -1.0)])
def test_metrics_say_where_scores_went(calibration, shift, direction):
    watch, meters = ScoreWatch(calibration), Meters()
    meters.watch_drift(lambda: {"part": watch})
    for score in np.random.default_rng(1).normal(10 + shift, 1, WATCHED + 10):
        watch.add(float(score))
    lines = meters.text().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("cavga_score_drift"))
    assert float(values['cavga_score_drift_images{model="part"}']) == WATCHED
    assert float(values['cavga_score_drift_direction{model="part"}']) == direction
    if direction == 0:
        assert float(values['cavga_score_drift_ks_p_value{model="part"}']) > 0.01


def test_of_few_scores_nothing_is_said(calibration):
    watch = ScoreWatch(calibration)
    for _ in range(MIN_WATCHED - 1):
        watch.add(10.0)
    assert watch.drift() is None
    watch.add(10.0)
    assert watch.drift() is not None
