"""Rates by threshold and the ROC curve."""

import re

import pytest

from cavga.rendering.rate_curves import HEIGHT, WIDTH, Rates, rates_chart, roc_chart

SCORES = [(1.0, 0), (2.0, 0), (3.0, 0), (2.5, 1), (4.0, 1)]


def test_rates_are_the_shares_that_reach_the_threshold():
    rates = Rates.of(SCORES)
    assert rates.at(0.0) == (1.0, 1.0)
    assert rates.at(2.0) == (pytest.approx(2 / 3), 1.0)
    assert rates.at(2.6) == (pytest.approx(1 / 3), 0.5)
    assert rates.at(4.0) == (0.0, 0.5)
    assert rates.at(4.1) == (0.0, 0.0)


def test_one_label_alone_has_no_rates():
    assert Rates.of([(1.0, 0), (2.0, 0)]) is None
    assert Rates.of([(float("nan"), 1), (2.0, 0)]) is None


@pytest.mark.parametrize("threshold", [2.6, None, float("inf"), -5.0, 50.0])
@pytest.mark.parametrize("scores", [SCORES, [(1.0, 0), (1.0, 1)], [(-3e5, 0), (2e6, 1)]])
def test_nothing_is_drawn_outside_the_picture(scores, threshold):
    rates = Rates.of(scores)
    for chart in (rates_chart(rates, threshold), roc_chart(rates, threshold)):
        assert chart.startswith("<svg")
        x = [
            float(value)
            for value in re.findall(r'(?:\bx[12]?|cx)="([\d.-]+)"|H([\d.-]+)', chart)
            for value in value
            if value
        ]
        y = [
            float(value)
            for value in re.findall(r'(?:\by[12]?|cy)="([\d.-]+)"|V([\d.-]+)', chart)
            for value in value
            if value
        ]
        assert min(x) >= 0
        assert max(x) <= WIDTH
        assert min(y) >= 0
        assert max(y) <= HEIGHT


def test_the_roc_curve_marks_the_threshold_in_use():
    rates = Rates.of(SCORES)
    assert "the threshold in use" in roc_chart(rates, 2.6)
    assert "the threshold in use" not in roc_chart(rates, None)
