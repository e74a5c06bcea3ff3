import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cavga import AnomalyDetector
from cavga.calibration.stored import calibration_path
from cavga.errors import DataError
from cavga.monitoring.recalibrate import calibrate_model
from tests.conftest import is_one_complaint, run_command, save_image, small_config, texture, write_category

NUM_GOOD = 24


def darker(pixels):
    """The same part under a weaker lamp."""
    return np.rint(255 * (pixels / 255) ** 1.8).astype(np.uint8)


@pytest.fixture(scope="module")
def lamp(tmp_path_factory):
    """Good parts under a new lamp: some to calibrate with, others to predict."""
    folder = tmp_path_factory.mktemp("lamp")
    for i in range(NUM_GOOD):
        save_image(folder / f"calibrate/{i:03d}.png", darker(texture(1000 + i)))
        save_image(folder / f"predict/{i:03d}.png", darker(texture(2000 + i)))
    return folder


@pytest.fixture
def run(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


@pytest.fixture
def exported(exported_model, tmp_path):
    (tmp_path / "exported").mkdir()
    return shutil.copy(exported_model, tmp_path / "exported/model.onnx")


def predicted(model, folder):
    return sum(prediction.is_anomalous for prediction in AnomalyDetector.load(model, device="cpu").predict(folder))


@pytest.mark.parametrize("kind", ["run", "exported"])
def test_a_new_lamp_raises_false_alarms_until_one_calibrates(kind, request, lamp, capsys):
    model = request.getfixturevalue(kind)
    before = {path: path.read_bytes() for path in (model.rglob("*") if model.is_dir() else [model]) if path.is_file()}
    assert predicted(model, lamp / "predict") > NUM_GOOD // 2
    code, out, err = run_command(capsys, "calibrate", model, lamp / "calibrate", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["called_anomalous_before"] > NUM_GOOD // 2
    assert result["new"]["image_threshold"] > result["old"]["image_threshold"]
    assert result["promise"].startswith("at most 0.040 of normal images")
    assert result["trained_on"] == (0 if kind == "run" else None)
    assert predicted(model, lamp / "predict") <= NUM_GOOD // 4
    assert AnomalyDetector.load(model).pixel_threshold == result["new"]["pixel_threshold"]
    assert all(path.read_bytes() == content for path, content in before.items())
    code, out, _ = run_command(capsys, "calibrate", model, "--reset")
    assert (code, "was removed" in out) == (0, True)
    assert AnomalyDetector.load(model).image_threshold == result["old"]["image_threshold"]
    code, out, _ = run_command(capsys, "calibrate", model, "--reset")
    assert (code, "no calibration to remove" in out) == (0, True)


def test_the_command_says_old_and_new_thresholds_and_why(exported, lamp, capsys):
    code, out, err = run_command(capsys, "calibrate", exported, lamp / "calibrate", "--false-alarm-rate", 0.01)
    assert code == 0, err
    assert "good photographs are predicted anomalous (100%)" in out
    assert "at least 99 different ones" in out  # what 0.01 takes
    assert "not known here: what the model was trained on" in out
    assert exported.with_name("model.onnx.calibration.json").is_file()


def test_an_exported_model_is_calibrated_and_drift_and_profile_run_without_torch(exported, lamp, tmp_path):
    commands = [
        ["calibrate", exported, lamp / "calibrate"],
        ["predict", exported, lamp / "predict", "--output", tmp_path / "p"],
        ["drift", tmp_path / "p", "--against", exported],
        ["profile", exported, lamp / "predict", "--repeats", "2"],
    ]
    absent = ("torch", "scipy", "sklearn", "matplotlib", "jaxtyping", "skimage")
    code = (
        f"import sys; [sys.modules.__setitem__(name, None) for name in {absent}]\nfrom cavga.cli.main import main\n"
        f"print([main(command) for command in {[[str(word) for word in command] for command in commands]}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 0, 0]"], done.stderr


def test_the_file_says_where_the_thresholds_come_from(run, lamp, capsys):
    _, out, _ = run_command(capsys, "calibrate", run, lamp / "calibrate", "--json")
    document = json.loads((run / "calibration.json").read_text())
    hashes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in (lamp / "calibrate").iterdir())
    photographs = document["photographs"]
    assert (photographs["count"], photographs["folder"], photographs["sha256s"]) == (NUM_GOOD, "calibrate", hashes)
    assert photographs["sha256"] == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert document["weights_sha256"] == json.loads((run / "model.json").read_text())["weights_sha256"]
    assert document["replaces"]["image_threshold"] == json.loads(out)["old"]["image_threshold"]
    assert document["date"].endswith("+00:00")
    assert len(document["calibration"]["scores"]) == NUM_GOOD


def test_what_the_model_has_seen_and_copies_are_left_out(run, category, lamp, tmp_path, capsys):
    photographs = tmp_path / "photographs"
    shutil.copytree(category / "train/good", photographs)
    for path in sorted((lamp / "calibrate").iterdir())[:5]:
        shutil.copy(path, photographs / f"new-{path.name}")
        shutil.copy(path, photographs / f"same-{path.name}")
    code, out, _ = run_command(capsys, "calibrate", run, photographs)
    assert code == 0
    assert out.startswith("5 photographs of good parts; left out: 12 that the model was trained on, 5 copies")
    assert "at least 19 different ones" in out
    code, _, err = run_command(capsys, "calibrate", run, category / "train/good")
    assert (code, is_one_complaint(err)) == (3, True)
    assert "0 of 12 photographs can be used (the model was trained on 12)" in err
    assert "19 to promise" in err


def test_an_exported_file_in_its_runs_folder_knows_what_it_was_trained_on(exported, run_folder, category, capsys):
    manifest = exported.with_name("manifest.csv")
    shutil.copy(run_folder / "manifest.csv", manifest)  # both runs were trained on the same images
    code, _, err = run_command(capsys, "calibrate", exported, category / "train/good")
    assert (code, "the model was trained on 12" in err) == (3, True)
    manifest.write_text(manifest.read_text() + "\n")  # of another run, for all that is known
    code, out, _ = run_command(capsys, "calibrate", exported, category / "train/good")
    assert (code, "not known here" in out) == (0, True)


def test_unreadable_photographs_are_named(run, lamp, tmp_path, capsys):
    folder = shutil.copytree(lamp / "calibrate", tmp_path / "photographs")
    (folder / "003.png").write_bytes(b"not an image")
    (folder / "004.png").write_bytes(b"")
    code, out, err = run_command(capsys, "calibrate", run, folder)
    assert code == 4
    assert "003.png" in err
    assert "004.png" in err
    assert out.startswith(f"{NUM_GOOD - 2} photographs")
    (tmp_path / "broken").mkdir()
    shutil.move(folder / "003.png", tmp_path / "broken/003.png")
    (run / "calibration.json").unlink()
    code, _, err = run_command(capsys, "calibrate", run, tmp_path / "broken")
    assert (code, is_one_complaint(err), "003.png" in err) == (3, True, True)
    assert not (run / "calibration.json").exists()


@pytest.mark.parametrize("damage", ["number", "text", "version", "foreign"])
def test_a_damaged_or_foreign_calibration_is_refused_and_can_be_replaced(run, exported, lamp, capsys, tmp_path, damage):
    run_command(capsys, "calibrate", run, lamp / "calibrate")
    path = run / "calibration.json"
    if damage == "foreign":
        run_command(capsys, "calibrate", exported, lamp / "calibrate")
        shutil.copy(calibration_path(exported), path)
    elif damage == "text":
        path.write_bytes(b"\xff\xfe[]")
    else:
        document = json.loads(path.read_text())
        document["format_version" if damage == "version" else "date"] = 7
        path.write_text(json.dumps(document))
    for command in (
        ("predict", run, lamp / "predict", "--output", tmp_path / "p"),
        ("drift", lamp, "--against", run),
        ("evaluate", run, lamp),
    ):
        if command[0] == "drift":
            (lamp / "predictions.jsonl").write_text('{"score": 1, "threshold": 1}\n')
        code, _, err = run_command(capsys, *command)
        assert (code, is_one_complaint(err)) == (1, True)
        assert f"{path} " in err
        assert "--reset" in err
    assert run_command(capsys, "calibrate", run, lamp / "calibrate")[0] == 0
    assert predicted(run, lamp / "predict") <= NUM_GOOD // 4


def test_evaluate_uses_the_new_thresholds_and_leaves_their_photographs_out(run, category, capsys, tmp_path):
    data = shutil.copytree(category, tmp_path / "data")
    for i in range(6):
        save_image(data / f"test/good/lamp{i}.png", darker(texture(1000 + i)))
    assert run_command(capsys, "calibrate", run, *[data / f"test/good/lamp{i}.png" for i in range(3)])[0] == 0
    _, out, _ = run_command(capsys, "evaluate", run, data, "--json")
    metrics = json.loads(out)
    assert (metrics["counts"]["excluded"], metrics["counts"]["calibration"]) == (3, 3)
    thresholds = json.loads((run / "calibration.json").read_text())["calibration"]
    assert metrics["image"]["threshold"] == pytest.approx(thresholds["image_threshold"])
    assert metrics["provenance"]["calibration"]["num_images"] == 3
    assert "scores" not in metrics["provenance"]["calibration"]


def test_the_papers_fixed_cuts_are_refused_by_name(category, lamp, capsys, tmp_path):
    from cavga.training.train import train

    run = train(category, tmp_path / "paper", small_config("paper", epochs=1))
    code, _, err = run_command(capsys, "calibrate", run, lamp / "calibrate")
    assert (code, is_one_complaint(err)) == (2, True)
    assert "preset paper" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("MODEL",), "no photographs given"),
        (("MODEL", "PHOTOS", "--reset"), "takes no photographs"),
        (("MODEL", "PHOTOS", "--false-alarm-rate", "5"), "between 0 and 1"),
        (("MODEL", "PHOTOS", "--mask-false-alarm-rate", "nan"), "between 0 and 1"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    code, _, err = run_command(capsys, "calibrate", *arguments)
    assert (code, is_one_complaint(err), message in err) == (2, True, True)


def test_missing_models_and_photographs(run, lamp, capsys, tmp_path):
    assert run_command(capsys, "calibrate", tmp_path / "nothing", "--reset")[0] == 1
    assert run_command(capsys, "calibrate", tmp_path / "nothing", lamp)[0] == 1
    code, _, err = run_command(capsys, "calibrate", run, tmp_path / "nothing")
    assert (code, is_one_complaint(err)) == (3, True)


def test_a_few_held_out_images_may_set_thresholds_again(tmp_path, capsys):
    # Those of the manifest's split calibration were not learnt from: only those of split train are left out.
    data = write_category(tmp_path / "data", num_train=20)
    config = small_config(epochs=1, variant="d-u")
    from dataclasses import replace

    from cavga.training.train import train

    config = replace(config, calibration=replace(config.calibration, false_alarm_rate=0.25))
    run = train(data, tmp_path / "run", config)
    assert "calibration" in (run / "manifest.csv").read_text()
    code, out, _ = run_command(capsys, "calibrate", run, data / "train/good", "--json")
    result = json.loads(out)
    assert (code, result["trained_on"], result["new"]["num_images"]) == (0, 16, 4)
    assert result["new"]["image_threshold"] == pytest.approx(result["old"]["image_threshold"], rel=1e-5)


def test_near_copies_count_once_and_bad_images_set_no_threshold(run, tmp_path):
    for i in range(4):
        save_image(tmp_path / f"good/{i}.png", texture(900 + i))
        Image.fromarray(texture(900 + i)).convert("RGB").save(tmp_path / f"good/{i}.jpg", quality=95)
    done = calibrate_model(run, [tmp_path / "good"])
    assert (done.new.num_images, done.num_copies) == (4, 4)
    save_image(tmp_path / "ng/0.png", texture(950))
    with pytest.raises(DataError, match="give the folder of good ones alone"):
        calibrate_model(run, [tmp_path])
