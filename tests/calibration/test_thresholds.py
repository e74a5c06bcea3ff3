import json
import math

import numpy as np
import pytest

from cavga.calibration.rules import conformal_threshold
from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import CalibrationConfig
from cavga.errors import DataError

MASK_KEYS = ("guaranteed_mask_false_alarm_rate", "num_mask_images")  # old files have neither


def scores(*values):
    return np.array(values, dtype=np.float32)


def test_threshold_by_hand():
    # n = 19, rate 0.05: k = ceil(20 * 0.95) = 19, the largest; the promise is 1 - 19/20.
    threshold, promised = conformal_threshold(scores(*range(19)), 0.05)
    assert 18 < threshold <= np.nextafter(np.float32(18), np.float32(19))
    assert promised == pytest.approx(0.05)


def test_too_few_normals_promise_less_and_say_so():
    # n = 4 can promise no less than 1/5.
    threshold, promised = conformal_threshold(scores(1, 2, 3, 4), 0.05)
    assert threshold > 4
    assert promised == pytest.approx(0.2)
    calibration = calibrate(((float(i), np.zeros((2, 2), np.float32)) for i in range(4)), CalibrationConfig())
    assert "no less than a false alarm rate of 0.200" in calibration.guarantee()
    assert "at least 19 different ones" in calibration.guarantee()


@pytest.mark.parametrize("n", [19, 20, 39, 100, 199])
def test_the_promise_is_kept_on_average(n):
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        threshold, promised = conformal_threshold(rng.normal(size=n).astype(np.float32), 0.05)
        rates.append((rng.normal(size=500) >= threshold).mean())
    assert promised <= 0.05 + 1e-9
    assert np.mean(rates) == pytest.approx(promised, abs=0.006)


def test_the_image_that_sets_the_threshold_is_not_called_anomalous():
    values = scores(0.1, 0.2, 0.3)
    threshold, _ = conformal_threshold(values, 0.25)
    assert not (values >= threshold).any()


def test_the_mask_of_a_normal_image_shows_something_at_the_asked_rate():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(10, 10)).astype(np.float32) for _ in range(59)]
    calibration = calibrate(((0.0, one) for one in maps), CalibrationConfig(mask_false_alarm_rate=0.1))
    # k = ceil(60 * 0.9) = 54: the five highest of 59 peaks reach it.
    assert sum((one >= calibration.pixel_threshold).any() for one in maps) == 5
    fresh = [rng.normal(size=(10, 10)).astype(np.float32) for _ in range(2000)]
    assert np.mean([(one >= calibration.pixel_threshold).any() for one in fresh]) < 0.2


def peaks(*values):
    return [np.full((2, 2), value, np.float32) for value in values]


@pytest.mark.parametrize(("num_peaks", "promised"), [(1, 1 / 2), (2, 1 / 3), (4, 1 / 5), (9, 1 / 10), (59, 1 / 10)])
def test_what_so_many_masks_can_promise_is_written_and_kept(num_peaks, promised):
    config = CalibrationConfig(mask_false_alarm_rate=0.1)
    rng = np.random.default_rng(num_peaks)
    rates = []
    for _ in range(2000):
        maps = [*peaks(*rng.normal(size=num_peaks)), None]  # of the last one C has seen the image
        calibration = calibrate(((0.0, one) for one in maps), config)
        assert calibration.guaranteed_mask_false_alarm_rate == pytest.approx(promised)
        assert (calibration.num_mask_images, calibration.num_images) == (num_peaks, num_peaks + 1)
        rates.append((rng.normal(size=200).astype(np.float32) >= calibration.pixel_threshold).mean())
    assert np.mean(rates) == pytest.approx(promised, abs=0.02)
    sentence = calibration.mask_guarantee()
    if promised > 0.1 + 1e-9:
        assert f"no less than a mask false alarm rate of {promised:.3f}; 0.1 was asked for" in sentence
        assert f"{num_peaks} of {num_peaks + 1} normal images, which its attention was not trained on" in sentence
        assert "at least 9 different ones" in sentence
    else:
        assert sentence.startswith("at most 0.100 of normal images have anything in their mask")


def test_both_promises_are_said_of_a_model_that_knows_them_and_one_of_one_that_does_not():
    calibration = calibrate(((0.0, one) for one in peaks(*range(30))), CalibrationConfig())
    assert len(calibration.guarantees()) == 2
    facts = calibration.as_dict()
    assert facts["guaranteed_mask_false_alarm_rate"] <= facts["mask_false_alarm_rate"]
    old = {key: value for key, value in facts.items() if key not in MASK_KEYS}
    assert Calibration.from_dict(old).guarantees() == [calibration.guarantee()]


def test_the_papers_rule_is_the_middle_and_a_half():
    config = CalibrationConfig(threshold_rule="fixed")
    calibration = calibrate(((value, np.zeros((2, 2), np.float32)) for value in (2.0, 3.0, 6.0)), config)
    assert (calibration.image_threshold, calibration.pixel_threshold) == (4.0, 0.5)
    assert calibration.guaranteed_false_alarm_rate is None
    assert calibration.guaranteed_mask_false_alarm_rate is None
    for sentence in calibration.guarantees():
        assert "promises no false alarm rate" in sentence
    assert len(calibration.guarantees()) == 2


def test_no_normal_image_is_an_error():
    with pytest.raises(DataError, match="at least 2 good images"):
        calibrate(iter([]), CalibrationConfig())


def test_calibration_survives_json():
    calibration = calibrate(((float(i), np.zeros((2, 2), np.float32)) for i in range(30)), CalibrationConfig())
    assert Calibration.from_dict(json.loads(json.dumps(calibration.as_dict()))) == calibration
    without_scores = {key: value for key, value in calibration.as_dict().items() if key != "scores"}
    assert Calibration.from_dict(without_scores).scores == ()  # models from before they were kept
    assert math.isfinite(calibration.pixel_threshold)


def test_scores_of_one_unit_count_as_one():
    alone = conformal_threshold(scores(*range(8)), 0.2)
    thrice, units = scores(*[score for score in range(8) for _ in range(3)]), np.repeat(np.arange(8), 3)
    assert conformal_threshold(thrice, 0.2, units) == (alone[0], pytest.approx(alone[1]))
    assert conformal_threshold(thrice, 0.05, units)[1] == pytest.approx(1 / 9)  # by 24 it would be 1 / 25


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_rate_holds_with_units_of_unlike_size(rate):
    rng, hits = np.random.default_rng(0), []
    for _ in range(2000):
        centres = rng.normal(size=31)
        units = np.repeat(np.arange(30), rng.integers(1, 6, 30))
        seen = (centres[units] + 0.3 * rng.normal(size=len(units))).astype(np.float32)
        threshold, promised = conformal_threshold(seen, rate, units)
        assert promised <= rate + 1e-9
        hits.append(centres[30] + 0.3 * rng.normal() >= threshold)
    assert np.mean(hits) <= rate + 3 * np.sqrt(rate * (1 - rate) / len(hits))


def test_a_guarantee_by_copies_says_of_how_many_photographs():
    results = ((float(i // 3), np.full((2, 2), i // 3, np.float32)) for i in range(24))
    calibration = calibrate(results, CalibrationConfig(), units=[i // 3 for i in range(24)])
    assert (calibration.num_images, calibration.num_units, calibration.num_mask_units) == (24, 8, 8)
    assert calibration.guaranteed_false_alarm_rate == pytest.approx(1 / 9)
    assert calibration.scores == tuple(range(8))
    assert calibration.guarantee().startswith("8 different photographs or groups among 24 held-out normal images can")


def test_folds_give_an_estimate_and_held_out_images_a_promise():
    results = [(float(i), np.full((2, 2), i, np.float32)) for i in range(40)]
    held_out, folded = (calibrate(results, CalibrationConfig(), num_folds=number) for number in (1, 5))
    assert held_out.guarantee() == (
        "at most 0.049 of normal images are predicted anomalous on average, if they are like the 40 held-out normal "
        "images"
    )
    assert folded.guarantee() == (
        "about 0.049 of normal images are predicted anomalous: an estimate from 40 normal images, each scored by a "
        "model fitted without it"
    )
    assert folded.mask_guarantee().startswith("about 0.098 of normal images have anything in their mask: an estimate")
    assert folded.as_dict()["promised_false_alarm_rate"] == held_out.as_dict()["promised_false_alarm_rate"]


def test_too_few_images_of_folds_can_estimate_no_less():
    results = [(float(i), np.full((2, 2), i, np.float32)) for i in range(4)]
    assert calibrate(results, CalibrationConfig(), num_folds=4).guarantee() == (
        "4 normal images, each scored by a model fitted without it, can estimate no less than a false alarm rate of "
        "0.200; 0.05 was asked for: give it at least 19 different ones"
    )
