import numpy as np
import pytest

from cavga.calibration.stored import CALIBRATION_FILE
from cavga.errors import DataError, UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.exporting.export import export_run
from cavga.inference.detector import AnomalyDetector
from cavga.marking import heads
from cavga.marking.marks import mark_photographs, said_of, withdraw_marks
from cavga.marking.refit import refit
from cavga.marking.versions import use_version, versions_of
from cavga.monitoring.operating_point import set_operating_point
from cavga.monitoring.recalibrate import calibrate_model
from cavga.runs.marks_file import BAD, GOOD
from cavga.runs.model_json import MARKS_KEY, load_description
from tests.conftest import without_shape_checks


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Refits without an export, which takes as long as all tests here."""
    monkeypatch.setattr("cavga.marking.refit.export_refitted", lambda *_args, **_settings: None)


def score(run, path):
    return AnomalyDetector.load(run)(path).score


def test_a_false_alarm_is_known_after_it_was_marked_good(run, photographs):
    alarm = photographs / "bad/0.png"
    before = score(run, alarm)
    mark_photographs(run, said_of([alarm], GOOD))
    done = refit(run)
    assert score(run, alarm) < before / 2
    assert done.new.num_images == done.old.num_images + 1
    # Its twin shows the same square on another texture.
    assert score(run, photographs / "bad/1.png") < before


def test_marks_do_not_move_what_good_marks_do_not_touch(run, photographs):
    """Bad marks alone leave the prior as it is, so that the energy's score is what it was."""
    mark_photographs(run, said_of([photographs / "bad/0.png"], BAD))
    before, good = score(run, photographs / "bad/1.png"), score(run, photographs / "good/1.png")
    done = refit(run)
    assert done.readout is None  # one mark cannot be left out, so it says nothing
    assert score(run, photographs / "bad/1.png") == pytest.approx(before, abs=1e-4)
    assert score(run, photographs / "good/1.png") == pytest.approx(good, abs=1e-4)
    assert done.new.image_threshold == pytest.approx(done.old.image_threshold, abs=1e-4)


def test_the_prior_is_fitted_again_only_where_a_photograph_is_marked_good(run, photographs, monkeypatch):
    fits = []
    fit = heads.cross_fitted_prior
    monkeypatch.setattr(heads, "cross_fitted_prior", lambda *a, **k: (fits.append(1), fit(*a, **k))[1])
    mark_photographs(run, said_of([photographs / "bad"], BAD))
    refit(run)
    assert not fits
    mark_photographs(run, said_of([photographs / "good/0.png"], GOOD))
    refit(run)
    assert len(fits) == 1
    withdraw_marks(run, [photographs / "good/0.png"])
    refit(run)  # the prior in use knows a photograph that is no longer marked good
    assert len(fits) == 2


def test_the_version_says_what_changed_and_can_be_gone_back_from(run, photographs):
    mark_photographs(run, said_of([photographs / "bad"], BAD, "square"))
    before = AnomalyDetector.load(run)(photographs / "bad/0.png").score
    done = refit(run)
    assert len(done.lines) == 5
    assert [mark.type for mark in done.marks] == ["square"] * 4
    assert [(v.number, v.is_in_use) for v in versions_of(run)] == [("000", False), ("001", True)]
    assert load_description(run)[MARKS_KEY]["bad"] == 4
    use_version(run, "000")
    assert score(run, photographs / "bad/0.png") == before
    assert MARKS_KEY not in load_description(run)
    use_version(run, "001")
    assert load_description(run)[MARKS_KEY]["version"] == "001"


def test_the_rate_in_force_is_kept_and_stays_with_its_version(run, photographs):
    set_operating_point(run, false_alarm_rate=0.25)
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    done = refit(run)
    assert done.new.false_alarm_rate == 0.25
    assert not (run / CALIBRATION_FILE).exists()
    use_version(run, "000")
    assert AnomalyDetector.load(run).description["calibration"]["false_alarm_rate"] == 0.25


def test_thresholds_of_photographs_end_and_it_is_said(run, photographs, category):
    calibrate_model(run, [category / "test/good"])
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    assert "4 photographs of `cavga calibrate`" in refit(run).warnings[-1]
    use_version(run, "000")
    assert (run / CALIBRATION_FILE).exists()


def test_a_threshold_that_was_given_by_hand_ends_and_it_is_said(run, photographs):
    set_operating_point(run, threshold=7.5)
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    assert "the threshold 7.5 that was given by hand ends" in refit(run).warnings[-1]


def test_what_was_read_once_need_not_be_there_again(run, photographs):
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    first = refit(run)
    for path in (photographs / "good").iterdir():
        path.unlink()
    again = refit(run)
    assert again.new.image_threshold == first.new.image_threshold
    assert [mark.after for mark in again.marks] == [mark.after for mark in first.marks]


def test_a_photograph_that_was_never_read_and_is_gone_is_one_line(run, photographs):
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    (photographs / "good/0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png.*withdraw"):
        refit(run)
    assert not versions_of(run)
    withdraw_marks(run, [photographs / "good/0.png"])
    assert len(refit(run).marks) == 3


def test_a_run_without_marks_is_one_line(run):
    with pytest.raises(UsageError, match="has no marks"):
        refit(run)


def test_a_refit_that_loses_too_much_is_refused_unless_forced(run, photographs, monkeypatch):
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    monkeypatch.setattr("cavga.marking.refit.MAX_MADE_LOSS", -1.1)  # nothing is good enough
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match=r"is not refitted: .*--force"):
        refit(run)
    assert not versions_of(run)
    assert (run / "model.safetensors").read_bytes() == before
    assert refit(run, force=True).is_forced
    assert load_description(run)[MARKS_KEY]["forced"]
    assert "forced" in versions_of(run)[-1].about["summary"]


def test_a_bad_mark_that_looks_good_is_named(run, photographs):
    mark_photographs(run, said_of([photographs / "bad"], BAD))
    mark_photographs(run, said_of([photographs / "good/0.png", photographs / "good/1.png"], BAD))
    warnings = refit(run, force=True).warnings
    assert all("good" in warning for warning in warnings)


def test_marked_photographs_are_left_out_of_an_evaluation(run, category):
    tested = sorted((category / "test/square").iterdir())
    mark_photographs(run, said_of(tested[:2], BAD))
    refit(run, force=True)
    metrics = evaluate(run, category).metrics
    assert metrics["counts"]["excluded"] == 2
    assert metrics["counts"]["test_anomalous"] == len(tested) - 2


def test_a_refitted_model_is_one_graph_with_parity(run, photographs):
    mark_photographs(run, said_of([photographs / "bad"], BAD))
    refit(run)
    with without_shape_checks():
        exported = export_run(run, run / "refitted.onnx")
    assert exported.check.num_photographs
    detector, torch_one = AnomalyDetector.load(run / "refitted.onnx"), AnomalyDetector.load_in_torch(run)
    for path in sorted((photographs / "bad").iterdir()):
        assert np.isclose(detector(path).score, torch_one(path).score, rtol=1e-3, atol=1e-3)


def test_a_refit_to_a_new_run_leaves_the_old_one(run, photographs, tmp_path):
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    (run / "other.onnx").write_bytes(b"of a version that is gone")
    files = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    done = refit(run, tmp_path / "runs/new")
    new = tmp_path / "runs/new"
    assert {name: (run / name).read_bytes() for name in files} == files
    assert not versions_of(run)
    assert not (new / "other.onnx").exists()
    assert (done.run, done.number) == (new, "001")
    assert [(v.number, v.is_in_use) for v in versions_of(new)] == [("000", False), ("001", True)]
    assert score(new, photographs / "good/0.png") < score(run, photographs / "good/0.png")
    use_version(new, "000")
    assert score(new, photographs / "good/0.png") == score(run, photographs / "good/0.png")
    mark_photographs(new, said_of([photographs / "bad"], BAD))  # it is a run like others
    assert refit(new, force=True).number == "002"
    assert versions_of(new)[0].about["summary"] == "as trained"


def test_a_new_run_is_not_written_over_anything_nor_after_a_refusal(run, photographs, tmp_path, monkeypatch):
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    with pytest.raises(UsageError, match="is there already"):
        refit(run, photographs)
    monkeypatch.setattr("cavga.marking.refit.MAX_MADE_LOSS", -1.1)
    with pytest.raises(UsageError, match="is not refitted"):
        refit(run, tmp_path / "runs/new")
    assert not (tmp_path / "runs").exists()
