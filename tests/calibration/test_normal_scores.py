import numpy as np
import pytest

from cavga.calibration.normal_scores import NormalScores
from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import CalibrationConfig


def of_scores(*scores, **changes):
    maps = (np.array([[score]], dtype=np.float32) for score in scores)
    found = calibrate(zip(scores, maps, strict=True), CalibrationConfig(), **changes)
    return NormalScores.of(found)


@pytest.mark.parametrize(
    ("score", "p_value", "words"),
    [
        (340.5, 1 / 341, "higher than all 340 good ones"),
        (340, 2 / 341, "1 in 340 good ones scores this high"),
        (338, 4 / 341, "1 in 113 good ones scores this high"),
        (263, 79 / 341, "23 of 100 good ones score this high"),
        (2, 340 / 341, "99 of 100 good ones score this high"),  # not all of them
        (1, 1.0, "all 340 good ones score this high"),
    ],
)
def test_a_score_has_a_p_value_and_words_among_the_good_ones(score, p_value, words):
    good = of_scores(*np.arange(1.0, 341).tolist())
    assert good.p_value(float(score)) == pytest.approx(p_value)
    assert good.in_words(float(score)) == words


def test_few_good_ones_are_counted_one_by_one():
    good = of_scores(1.0, 2.0, 3.0, 4.0, 5.0)
    assert good.in_words(5.0) == "1 of 5 good ones scores this high"
    assert good.in_words(3.5) == "2 of 5 good ones score this high"


def test_a_score_is_as_high_as_the_photograph_that_has_it_however_many_digits_are_kept():
    score = float(np.float32(1 / 3))
    assert of_scores(0.1, score).num_as_high(score) == 1


def test_of_thousands_quantiles_are_kept_and_all_are_counted():
    good = of_scores(*np.arange(5000.0).tolist())
    assert len(good.scores) == 1000
    assert good.in_words(5000.0) == "higher than all 5000 good ones"
    assert good.p_value(2500.0) == pytest.approx(0.5, abs=0.002)


def test_copies_count_once():
    assert of_scores(1.0, 1.0, 2.0, units=[0, 0, 1]).in_words(3.0) == "higher than all 2 good ones"


def test_a_model_from_before_scores_were_kept_has_none():
    assert NormalScores.of(Calibration("conformal", 9, 1, 0.1, 0.1, 0.1, 7.0, 8.0, 1.0, 6.0)) is None


def test_the_p_value_of_a_new_good_photograph_is_at_most_its_level_that_often():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        *good, new = rng.normal(size=40).tolist()
        found.append(of_scores(*good).p_value(new) <= 0.1)
    assert np.mean(found) <= 0.1 + 3 * np.sqrt(0.09 / 2000)
