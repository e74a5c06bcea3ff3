import pytest

from cavga.benchmark.promised_rates import at_promised_rates
from cavga.calibration.thresholds import calibrate
from cavga.config.schema import CalibrationConfig
from cavga.inference.lines import jsonl, prediction_line


def calibration(num_scores, **settings):
    """Of the scores 1, 2, ..., num_scores."""
    import numpy as np

    results = ((float(score), np.zeros(1, dtype=np.float32)) for score in range(1, num_scores + 1))
    return calibrate(results, CalibrationConfig(**settings))


@pytest.fixture
def predictions(tmp_path):
    """Twenty good photographs with scores 90 to 109, three bad ones, and one that could not be read."""
    lines = [prediction_line(f"{score}", score=float(score), threshold=0.0, label=0) for score in range(90, 110)]
    lines += [prediction_line(f"bad {score}", score=score, threshold=0.0, label=1) for score in (94.5, 95.5, 120.0)]
    lines.append(prediction_line("broken", score=None, threshold=0.0, label=1, error="broken"))
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(jsonl(line.as_dict() for line in lines))
    return path


def test_both_rates_by_hand(predictions):
    found = at_promised_rates(calibration(99), predictions)
    assert list(found) == ["0.05", "0.01"]
    five, one = found.values()
    assert five["threshold"] == pytest.approx(95)  # the 95th of 99, and the next number above it
    assert five["guaranteed"] == pytest.approx(0.05)
    assert (five["recall"], five["false_alarm_rate"]) == (pytest.approx(2 / 3), 14 / 20)
    assert five["recall_at_true"] == pytest.approx(1 / 3)  # one good photograph of 20 may be above: 109
    assert one["threshold"] == pytest.approx(99)
    assert one["guaranteed"] == pytest.approx(0.01)
    assert (one["recall"], one["false_alarm_rate"]) == (pytest.approx(1 / 3), 10 / 20)


def test_too_few_photographs_promise_what_they_can(predictions):
    found = at_promised_rates(calibration(31), predictions)
    assert [found[rate]["guaranteed"] for rate in found] == [pytest.approx(1 / 32)] * 2
    assert found["0.05"]["threshold"] == found["0.01"]["threshold"] == pytest.approx(31)


def test_a_rule_that_promises_nothing_has_none(predictions):
    assert at_promised_rates(calibration(31, threshold_rule="fixed"), predictions) is None
