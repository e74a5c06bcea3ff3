import pytest

from cavga.calibration.thresholds import Calibration
from cavga.evaluation.sections import _realised


def calibration(promised):
    return Calibration(
        threshold_rule="conformal",
        num_images=25,
        num_folds=1,
        false_alarm_rate=0.05,
        guaranteed_false_alarm_rate=promised,
        mask_false_alarm_rate=0.1,
        image_threshold=1.0,
        pixel_threshold=1.0,
        score_min=0.0,
        score_max=1.0,
    )


def metrics(rate, interval):
    return {
        "image": {"false_alarm_rate": rate},
        "intervals": {"false_alarm_rate": interval},
        "counts": {"test_normal": 25},
    }


@pytest.mark.parametrize(
    ("promised", "interval", "is_broken"),
    [(0.04, [0.35, 0.76], True), (0.04, [0.0, 0.14], False), (None, [0.35, 0.76], False)],
)
def test_the_report_says_when_the_promise_is_broken(promised, interval, is_broken):
    (text,) = _realised(metrics(0.56, interval), calibration(promised))
    assert "of 25 good test images 56.0% were predicted anomalous" in text
    assert ("more than promised" in text) is is_broken


def test_without_good_test_images_nothing_is_said():
    assert _realised(metrics(None, None), calibration(0.04)) == []
