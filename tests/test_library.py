import json
import shutil

import pytest

import cavga
from cavga.errors import DataError, UsageError
from tests.conftest import run_command, small_config


@pytest.fixture
def run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


def json_of(capsys, *arguments):
    return json.loads(run_command(capsys, *arguments, "--json")[1])


def test_check_says_what_the_command_says(category, capsys):
    found = cavga.check(str(category))
    assert json.loads(json.dumps(found.to_dict())) == json_of(capsys, "check", category)
    assert repr(found).startswith(f"CheckedData(layout mvtec; train_normal {found.counts['train_normal']}, ")


def test_calibrate_by_a_rate_by_photographs_and_by_neither(run, category):
    moved = cavga.calibrate(run, false_alarm_rate=0.5)
    assert moved.new.image_threshold < moved.old.image_threshold
    assert repr(moved).startswith(f"OperatingPoint(image threshold {moved.old.image_threshold:.6g} -> ")
    again = cavga.calibrate(str(run), str(category / "test/good"))
    assert repr(again).startswith("CalibratedModel(image threshold ")
    assert len(repr(again)) < 400
    with pytest.raises(UsageError, match="false alarm rate"):
        cavga.calibrate(run)
    with pytest.raises(UsageError, match="takes no photographs"):
        cavga.calibrate(run, [category / "test/good"], threshold=3.0)


def test_evaluate_and_compare_say_what_they_found(run, category, tmp_path):
    evaluated = cavga.evaluate(run, category, tmp_path / "a")
    assert repr(evaluated).startswith("EvaluatedRun(")
    assert "AUROC" in repr(evaluated)
    cavga.evaluate(run, category, tmp_path / "b")
    found = cavga.compare(tmp_path / "a", str(tmp_path / "b"))
    assert repr(found) == f"compare: {found.values['verdict']}"
    assert found.to_dict()["metrics"]


def test_drift_takes_predictions_or_what_was_written_of_them(run, category, tmp_path, capsys):
    detector = cavga.AnomalyDetector.load(run)
    found = cavga.drift(detector.predict(category / "test"), run)
    assert run_command(capsys, "predict", run, category / "test", "--output", tmp_path / "out")[0] == 0
    assert found.to_dict() == cavga.drift(tmp_path / "out", str(run)).to_dict()
    assert repr(found).startswith("drift: ")
    with pytest.raises(DataError, match="no predictions given"):
        cavga.drift([], run)


def test_profile_takes_photographs_or_none(run, category):
    found = cavga.profile(run, category / "test/good", batch_sizes=(1,), repeats=2)
    assert " ms a photograph" in repr(found)
    assert found.values["images"] == 4
    with pytest.raises(UsageError, match="from 1 on"):
        cavga.profile(run, repeats=0)


def test_training_shows_its_progress_if_it_is_asked_to(category, tmp_path, capsys):
    config = small_config()
    cavga.train(category, tmp_path / "silent", config)
    assert capsys.readouterr() == ("", "")
    cavga.train(category, str(tmp_path / "told"), config, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "cavga: " in shown.err
