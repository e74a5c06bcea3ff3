"""Thresholds without photographs: by the scores that a model keeps, or given; and everything follows them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cavga import AnomalyDetector
from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import CalibrationConfig
from cavga.errors import ModelFileError, UsageError
from cavga.exporting import bundle
from cavga.exporting.export import export_run
from cavga.monitoring.operating_point import set_operating_point
from cavga.runs.model_json import load_description, save_description
from cavga.training.train import train
from tests.conftest import (
    golden_description,
    is_one_complaint,
    run_command,
    save_image,
    small_config,
    texture,
    without_shape_checks,
)


@pytest.fixture
def run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def trained(run):
    return Calibration.from_dict(load_description(run)["calibration"])


def described(folder, calibration):
    """A run folder that holds a description alone, with this calibration."""
    save_description(folder, {**golden_description(), "calibration": calibration.as_dict()}, weights_sha256="0")
    return folder


def of_numbers(numbers, rate=0.05, *, mask_rate=0.1):
    values = np.asarray(numbers, dtype=np.float32)
    results = ((float(value), np.array([[2 * value]], dtype=np.float32)) for value in values)
    return calibrate(results, CalibrationConfig(false_alarm_rate=rate, mask_false_alarm_rate=mask_rate))


def test_another_rate_sets_the_threshold_by_the_scores_that_the_run_keeps(run, capsys):
    old = trained(run)
    code, out, err = run_command(capsys, "calibrate", run, "--false-alarm-rate", 0.25, "--json")
    assert (code, err) == (0, "")
    new = json.loads(out)["new"]
    assert new["image_threshold"] < old.image_threshold
    assert new["promised_false_alarm_rate"] == pytest.approx(3 / 13)  # of 12 scores the tenth
    assert new["image_threshold"] == pytest.approx(sorted(old.scores)[9], rel=1e-5)
    assert new["pixel_threshold"] == old.pixel_threshold
    assert AnomalyDetector.load(run, device="cpu").image_threshold == new["image_threshold"]
    code, out, _ = run_command(capsys, "calibrate", run, "--mask-false-alarm-rate", 0.5, "--json")
    both = json.loads(out)["new"]
    assert (both["image_threshold"], both["false_alarm_rate"]) == (new["image_threshold"], 0.25)
    assert both["pixel_threshold"] == pytest.approx(sorted(old.peaks)[6], rel=1e-5)
    assert run_command(capsys, "calibrate", run, "--reset")[0] == 0
    assert AnomalyDetector.load(run, device="cpu").image_threshold == old.image_threshold


@pytest.mark.parametrize("count", [39, 999, 1000, 4321])
def test_the_rate_is_that_of_all_scores_however_many_are_kept(count, tmp_path):
    numbers = np.random.default_rng(count).lognormal(size=count)
    for rate in (0.05, 0.3):
        exact = of_numbers(numbers, rate)
        run = described(tmp_path / f"{rate}", of_numbers(numbers, 0.1, mask_rate=0.2))
        new = set_operating_point(run, false_alarm_rate=rate, mask_false_alarm_rate=0.1).new
        assert exact.image_threshold <= new.image_threshold  # never below: the guarantee holds
        above = (numbers >= new.image_threshold).sum() / count
        assert new.guaranteed_false_alarm_rate <= rate + 1e-9
        assert rate - above < 3 / min(count, 1000)
        assert new.guaranteed_mask_false_alarm_rate <= 0.1 + 1e-9
        assert (2 * numbers >= new.pixel_threshold).mean() <= 0.1


def test_the_rate_of_the_training_gives_its_threshold_again(tmp_path):
    numbers = -np.random.default_rng(3).lognormal(size=60)  # log-odds may lie below 0
    old = of_numbers(numbers)
    new = set_operating_point(described(tmp_path, old), false_alarm_rate=0.05).new
    assert new.image_threshold == pytest.approx(old.image_threshold, rel=2e-6)
    assert replace(new, image_threshold=old.image_threshold) == old


def test_a_threshold_of_the_users_own_guarantees_nothing_and_says_what_share_reaches_it(run, capsys):
    middle = float(np.median(trained(run).scores))
    code, out, err = run_command(capsys, "calibrate", run, "--threshold", middle)
    assert (code, err) == (0, "")
    assert "was given by hand: it guarantees no false alarm rate; 50.0% of the good scores" in out
    stored = json.loads((run / "calibration.json").read_text())
    assert (stored["calibration"]["threshold_rule"], stored["photographs"]["count"]) == ("given", 0)
    assert stored["calibration"]["promised_false_alarm_rate"] is None
    assert AnomalyDetector.load(run, device="cpu").image_threshold == np.float32(middle)
    code, out, _ = run_command(capsys, "calibrate", run, "--false-alarm-rate", 0.25)
    assert (code, "about 0.231 of normal images" in out) == (0, True)


def test_photographs_set_the_threshold_after_one_was_given(run, tmp_path, capsys):
    set_operating_point(run, threshold=123.0)
    for i in range(4):
        save_image(tmp_path / f"good/{i}.png", texture(900 + i))
    assert run_command(capsys, "calibrate", run, tmp_path / "good")[0] == 0
    stored = json.loads((run / "calibration.json").read_text())
    assert (stored["calibration"]["threshold_rule"], stored["photographs"]["count"]) == ("conformal", 4)
    set_operating_point(run, false_alarm_rate=0.5)  # by the scores of those four, which stay out of tests
    again = json.loads((run / "calibration.json").read_text())
    assert again["photographs"] == stored["photographs"]
    assert again["calibration"]["num_images"] == 4


def test_the_papers_fixed_cuts_take_a_given_threshold_and_no_rate(tmp_path):
    fixed = replace(of_numbers(range(20)), threshold_rule="fixed", guaranteed_false_alarm_rate=None,
                    guaranteed_mask_false_alarm_rate=None)  # fmt: skip
    run = described(tmp_path / "run", fixed)
    new = set_operating_point(run, threshold=12.5).new
    assert "35.0% of the good scores" in new.guarantee()
    assert "the paper's rule" in new.mask_guarantee()
    with pytest.raises(UsageError, match="preset paper"):
        set_operating_point(run, false_alarm_rate=0.1)


def test_an_older_run_without_scores_or_peaks_says_what_to_do(tmp_path, capsys):
    run = described(tmp_path / "run", replace(of_numbers(range(20)), scores=(), peaks=()))
    for flag, lacks in (("--false-alarm-rate", "scores"), ("--mask-false-alarm-rate", "peaks of maps")):
        code, _, err = run_command(capsys, "calibrate", run, flag, 0.1)
        assert (code, is_one_complaint(err)) == (1, True)
        assert f"kept no {lacks} of good photographs" in err
        assert "GOOD_PHOTOS" in err
    with pytest.raises(ModelFileError):
        set_operating_point(run, false_alarm_rate=0.1)
    assert not (run / "calibration.json").exists()
    assert set_operating_point(run, threshold=3.0).new.guarantee().endswith("guarantees no false alarm rate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MODEL", "PHOTOS", "--threshold", "1"), "takes no photographs"),
        (("MODEL", "--threshold", "1", "--false-alarm-rate", "0.1"), "exclude each other"),
        (("MODEL", "--threshold", "nan"), "finite number"),
        (("MODEL", "--threshold", "1", "--reset"), "--reset takes no"),
        (("MODEL",), "no photographs given"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    code, _, err = run_command(capsys, "calibrate", *arguments)
    assert (code, is_one_complaint(err), message in err) == (2, True, True)


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_a_rate_is_a_share(rate, run):
    with pytest.raises(UsageError, match="between 0 and 1"):
        set_operating_point(run, false_alarm_rate=rate)


def test_predict_evaluate_export_and_bundle_follow_the_operating_point(category, tmp_path, capsys, monkeypatch):
    run = train(category, tmp_path / "run", small_config(variant="d-u"), with_export=False)
    given = float(np.float32(np.median(trained(run).scores)))
    set_operating_point(run, threshold=given, mask_false_alarm_rate=0.5)
    with without_shape_checks():
        export_run(run)
        code, out, _ = run_command(capsys, "export", run)
    assert (code, "that of images given to `cavga calibrate`" in out) == (0, True)
    mask = AnomalyDetector.load(run, device="cpu").pixel_threshold
    exported = shutil.copy(run / "model.onnx", tmp_path / "alone.onnx")
    monkeypatch.setattr(bundle, "_pip", lambda *_arguments, **_options: None)
    monkeypatch.setattr(bundle, "_own_wheel", lambda *_arguments: tmp_path / "cavga.whl")
    monkeypatch.setattr(bundle, "_collect", lambda *_arguments: None)
    bundle.make_bundle(run, tmp_path / "bundle", platform="linux_x86_64", python="3.12")
    for model in (run, exported, tmp_path / "bundle/model.onnx"):
        detector = AnomalyDetector.load(model, device="cpu")
        assert (detector.image_threshold, detector.pixel_threshold) == (given, mask)
    output = tmp_path / "predictions"
    assert run_command(capsys, "predict", exported, category / "test", "--output", output)[0] == 0
    lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    assert {line["threshold"] for line in lines} == {given}
    assert {line["is_anomalous"] for line in lines} == {True, False}
    code, out, _ = run_command(capsys, "evaluate", run, category, "--json")
    assert json.loads(out)["image"]["threshold"] == given
    assert "peaks" not in json.loads(out)["provenance"]["calibration"]
