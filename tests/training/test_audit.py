import json

import numpy as np
import pytest

import cavga
from cavga.calibration.thresholds import calibrate, decision_warning
from cavga.config.schema import CalibrationConfig
from cavga.model.build import build
from cavga.training import train as pipeline
from tests.conftest import small_config, write_category


def counts(good, bad, num_good=10, num_bad=2):
    return {"num_good": num_good, "good_called_anomalous": good, "num_bad": num_bad, "bad_called_anomalous": bad}


def calibration(rule, score):
    config = CalibrationConfig(threshold_rule=rule)
    return calibrate([(0.0, np.zeros((2, 2), dtype=np.float32))] * 20, config, image_score=score)


@pytest.mark.parametrize(
    ("decisions", "of_classifier", "of_threshold"),
    [(counts(0, 0), "everything normal", "held-out good images"), (counts(10, 2), "everything anomalous", "below them"),
     (counts(1, 1), None, None), (counts(3, 0, num_bad=0), None, None)],
)  # fmt: skip
def test_decisions_that_tell_nothing_apart_are_named_with_what_makes_them(decisions, of_classifier, of_threshold):
    for rule, score, words in (("fixed", "class", of_classifier), ("conformal", "joint", of_threshold)):
        warning = decision_warning(decisions, calibration(rule, score))
        assert warning is None if words is None else words in warning


def test_a_classifier_that_calls_everything_normal_is_in_log_model_and_report(tmp_path, caplog, monkeypatch):
    def build_collapsed(*args, **kwargs):
        model = build(*args, **kwargs)
        model.classifier.linear.bias.data[0] = 50.0  # further than two epochs at 1e-4 can go
        return model

    monkeypatch.setattr(pipeline, "build", build_collapsed)
    data = write_category(tmp_path / "data", num_labelled=2)
    run = cavga.train(data, tmp_path / "run", small_config("paper", "r-w"))
    assert "calls everything normal" in caplog.text
    decisions = json.loads((run / "model.json").read_text())["training_decisions"]
    assert decisions == counts(0, 0)
    cavga.evaluate(run, data)
    assert "none of the 2 labelled bad training images is predicted anomalous" in (run / "report.html").read_text()
