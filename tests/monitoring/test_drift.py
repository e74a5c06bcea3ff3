import json
import shutil

import numpy as np
import pytest

from cavga.calibration.thresholds import MAX_SCORES, calibrate, kept_scores
from cavga.config.schema import CalibrationConfig
from cavga.monitoring.drift import detect_drift
from cavga.runs.model_json import load_description, save_description
from tests.conftest import run_command, save_image, texture

NO_MAP = np.zeros((1, 1), dtype=np.float32)


def calibration_of(scores, **settings):
    return calibrate(((float(score), NO_MAP) for score in scores), CalibrationConfig(**settings))


def write_predictions(path, scores, *, threshold):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"path": f"{i}.png", "score": score, "threshold": threshold} for i, score in enumerate(scores)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_scores_are_kept_sorted_and_thinned():
    rng = np.random.default_rng(0)
    some = calibration_of(rng.normal(size=30))
    assert list(some.scores) == sorted(some.scores)
    assert len(some.scores) == 30
    many = rng.normal(size=5000).astype(np.float32)
    kept = kept_scores(many)
    assert len(kept) == MAX_SCORES
    assert (kept[0], kept[-1]) == (pytest.approx(many.min(), rel=1e-5), pytest.approx(many.max(), rel=1e-5))
    assert np.quantile(kept, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(many, [0.1, 0.5, 0.9]), abs=0.01)
    assert kept_scores(np.array([1.23456789, 1e-9], dtype=np.float32)) == (1e-9, 1.23457)


def test_training_keeps_the_scores(run_folder):
    calibration = load_description(run_folder)["calibration"]
    assert len(calibration["scores"]) == calibration["num_images"] == 12
    assert calibration["scores"][-1] == pytest.approx(calibration["score_max"], rel=1e-5)


@pytest.mark.parametrize("num_good", [24, 59, 200])
def test_unchanged_scores_rarely_look_like_drift(num_good):
    rng = np.random.default_rng(0)
    found = [
        detect_drift(rng.normal(size=300), calibration_of(rng.normal(size=num_good))).direction for _ in range(150)
    ]
    assert sum(direction != "none" for direction in found) <= 5  # 1.5 expected


@pytest.mark.parametrize(("shift", "direction"), [(0.7, "higher"), (-0.7, "lower"), (5, "higher")])
def test_shifted_scores_are_drift(shift, direction):
    rng = np.random.default_rng(0)
    good = calibration_of(rng.normal(size=200))
    assert detect_drift(rng.normal(size=400) + shift, good).direction == direction


def test_defective_parts_are_no_drift():
    rng = np.random.default_rng(0)
    good = calibration_of(rng.normal(size=200))
    scores = rng.normal(size=500)
    scores[::5] += 8
    drift = detect_drift(scores, good)
    assert drift.direction == "none"
    assert "more images are predicted anomalous than good ones would be" in drift.verdict
    assert drift.whole.num_predicted_anomalous >= 100


def test_a_slow_drift_shows_in_the_parts_and_a_late_one_in_the_verdict():
    rng = np.random.default_rng(0)
    good = calibration_of(rng.normal(size=300))
    slow = detect_drift(rng.normal(size=1000) + np.linspace(0, 1.5, 1000), good)
    medians = [part.median_p_value for part in slow.parts]
    assert len(medians) == 5
    assert medians == sorted(medians, reverse=True)
    assert medians[0] > 0.35
    assert medians[-1] < 0.2
    late = detect_drift(np.concatenate([rng.normal(size=1800), rng.normal(size=200) + 1]), good)
    assert late.direction == "higher"


def test_conformal_p_values_by_hand():
    good = calibration_of([1, 2, 3])
    # (1 + 3) / 4 of what is below all, (1 + 2) / 4 of a tie with the second lowest, 1 / 4 of what is above all.
    assert [detect_drift(np.array([score]), good).whole.median_p_value for score in (0.0, 2.0, 9.0)] == [1, 0.75, 0.25]


def test_few_images_are_not_compared():
    drift = detect_drift(np.array([0.1, 0.2]), calibration_of(np.linspace(0, 1, 30)))
    assert drift.whole.comparison is None
    assert drift.parts == ()
    assert drift.verdict == "no sign of drift, but there are too few scores to compare"


def test_the_papers_cut_promises_nothing():
    good = calibration_of(np.linspace(0, 1, 30), threshold_rule="fixed")
    assert detect_drift(np.linspace(0, 1, 30), good).predicted_p_value is None


def test_the_command_on_a_new_lamp(run_folder, tmp_path, capsys):
    for i in range(12):
        save_image(tmp_path / f"lamp/{i:02d}.png", np.rint(texture(i) * 0.6).astype(np.uint8))
    (tmp_path / "lamp/99.png").write_bytes(b"not an image")
    assert run_command(capsys, "predict", run_folder, tmp_path / "lamp", "--output", tmp_path / "p")[0] == 4
    code, out, err = run_command(capsys, "drift", tmp_path / "p", "--against", run_folder)
    assert code == 0, err
    assert out.startswith("12 images, 1 more could not be read, against 12 good ones")
    assert out.splitlines()[-1] == "scores are higher than those that set the threshold: calibrate again"
    _, out, _ = run_command(capsys, "drift", tmp_path / "p/predictions.jsonl", "--against", run_folder, "--json")
    result = json.loads(out)
    assert (result["direction"], result["images"], result["unreadable"]) == ("higher", 12, 1)
    assert result["share"] == 1
    assert result["interval"][0] == pytest.approx(0.025 ** (1 / 12))


def test_predictions_of_another_threshold_are_pointed_out(run_folder, tmp_path, capsys):
    description = load_description(run_folder)["calibration"]
    for threshold, is_other in ((description["image_threshold"], False), (1e6, True)):
        path = write_predictions(tmp_path / "p.jsonl", description["scores"], threshold=threshold)
        code, out, _ = run_command(capsys, "drift", path, "--against", run_folder)
        assert (code, "another threshold" in out) == (0, is_other)
        _, out, _ = run_command(capsys, "drift", path, "--against", run_folder, "--json")
        assert (json.loads(out)["caveat"] is not None) == is_other


def test_a_model_without_scores_is_refused(run_folder, tmp_path, capsys):
    run = shutil.copytree(run_folder, tmp_path / "run")
    description = load_description(run)
    del description["calibration"]["scores"]
    weights_sha256 = description.pop("weights_sha256")
    save_description(run, description, weights_sha256=weights_sha256)
    path = write_predictions(tmp_path / "p.jsonl", [1.0], threshold=1.0)
    code, _, err = run_command(capsys, "drift", path, "--against", run)
    assert code == 1
    assert "train or calibrate again" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no scores"),
        ('{"score": null, "threshold": 1}\n', "1 images could not be read"),
        ('{"score": 1, "threshold": 1}\nnonsense\n', "line 2"),
        ('{"score": "1", "threshold": 1}\n', "line 1"),
        ('{"score": NaN, "threshold": 1}\n', "line 1"),
        ("[1]\n", "line 1"),
    ],
)
def test_what_is_no_prediction(run_folder, tmp_path, capsys, content, message):
    (tmp_path / "predictions.jsonl").write_text(content)
    code, _, err = run_command(capsys, "drift", tmp_path, "--against", run_folder)
    assert (code, len(err.splitlines()), message in err) == (3, 1, True)


def test_no_predictions_at_all(run_folder, tmp_path, capsys):
    code, _, err = run_command(capsys, "drift", tmp_path / "nothing", "--against", run_folder)
    assert (code, "cavga predict" in err) == (3, True)
    (tmp_path / "p").write_bytes(b"\xff\xfe\x00")
    assert run_command(capsys, "drift", tmp_path / "p", "--against", run_folder)[0] == 3
