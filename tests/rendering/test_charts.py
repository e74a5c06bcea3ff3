import re

import pytest

from cavga.rendering.charts import LEFT, PLOT_WIDTH, score_histogram


def test_the_histogram_shows_each_label_and_the_threshold_in_its_place():
    svg = score_histogram([(0.0, 0), (0.1, 0), (1.0, 1), (0.5, None)], 0.5)
    for text in ("2 good", "1 defective", "1 not labelled", "threshold 0.5", "anomaly score", "images"):
        assert f">{text}<" in svg
    x = float(re.search(r'class="threshold" x1="([\d.]+)"', svg).group(1))
    assert abs(x - (LEFT + PLOT_WIDTH) / 2) < 1  # half way between the lowest and the highest score


@pytest.mark.parametrize("scores", [[(0.5, 1)], [(3.0, 0)] * 5, [(1e6, 0), (1e6, 1)], [(-2.0, 0), (0.0, 1)]])
@pytest.mark.parametrize("threshold", [None, float("nan"), 0.5])
def test_the_histogram_takes_equal_and_negative_scores(scores, threshold):
    svg = score_histogram(scores, threshold)
    assert "nan" not in svg
    assert ("threshold 0.5" in svg) == (threshold == 0.5)


def test_no_finite_score_no_histogram():
    assert score_histogram([], 0.5) == ""
    assert score_histogram([(float("nan"), 0)], 0.5) == ""
