import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from cavga.cli.main import main
from cavga.config.toml import write_toml
from tests.conftest import cavga, is_one_complaint, run_command, save_image, small_config, texture

COMMAND_NAMES = (
    *("demo", "check", "train", "evaluate", "export", "predict", "bundle"),
    *("calibrate", "compare", "drift", "profile", "pretrain", "benchmark"),
)


def test_help_and_version_load_no_torch():
    check = "import sys; import cavga.cli.main; import cavga; assert not {'torch', 'numpy', 'rich'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    shown = cavga("--help")
    assert shown.returncode == 0
    assert {"demo", "check", "train", "evaluate", "predict", "calibrate", "compare", "drift", "profile"} <= set(
        shown.stdout.split()
    )
    assert cavga("--version").stdout.startswith("cavga 0.")


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_every_verb_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"example: cavga {command}" in shown
    assert ("run folder, or a file that `cavga export` wrote" in " ".join(shown.split())) == (
        command in ("predict", "evaluate")
    )


def test_help_shows_the_flags_that_people_need_and_help_all_every_one(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def shown(*arguments):
        with pytest.raises(SystemExit):
            main(list(arguments))
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        return text

    help_text, everything = shown("train", "--help"), shown("train", "--help-all")
    asked_for = {"help", "help-all", "json"}
    flags = set(re.findall(r"^  (?:-h, )?--([a-z-]+)", help_text, re.MULTILINE)) - asked_for
    assert len(flags) == 10
    assert {"output", "resume", "image-size", "tile", "weights", "false-alarm-rate"} <= flags
    assert "--kl-weight" not in help_text
    assert "--kl-weight" in everything
    assert "cavga train --help-all" in help_text
    assert "--threshold" in shown("predict", "--help")
    assert shown("--help").count("\n  ") > 10
    assert shown("--help-all") == shown("--help")


@pytest.mark.parametrize("command", COMMAND_NAMES)
def test_every_command_takes_help_all_and_fits_80_columns(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as caught:
            main([command, flag])
        text = capsys.readouterr().out
        assert caught.value.code == 0
        assert "\nflags:" in text
        assert max(map(len, text.splitlines())) <= 80, flag


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no command given"),
        (("trian", "x"), "expected one of train, pretrain, demo, check, predict"),
        (("xyz",), "expected one of demo, check, train, predict, evaluate"),
        (("train", "DATA"), "--output"),
        (("train", "DATA", "--output", "OUT", "--variant", "r-v"), "expected one of r-s, r-u, r-w, d-s, d-u, d-w"),
        (("train", "DATA", "--output", "OUT", "--image-size", "33"), "multiple of 32"),
        (("predict", "MODEL", "--output", "OUT"), "IMAGE_OR_FOLDER"),
        (("check", "DATA", "--layout", "mvtek"), "expected one of mvtec"),
        (("evaluate", "RUN", "DATA", "--evaluation-size", "orignal"), "expected one of original"),
        (("benchmark", "textres", "--output", "OUT"), "expected one of textures"),
        (("benchmark", "textures", "--output", "OUT", "--seeds", "a"), "whole numbers"),
    ],
)
def test_wrong_usage_is_exit_2_and_leaves_no_folder(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_command(capsys, *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "OUT").exists()
    if arguments:
        assert is_one_complaint(err)


def test_missing_data_is_exit_3(capsys, tmp_path):
    for arguments in (("check", tmp_path / "nothing"), ("train", tmp_path / "nothing", "--output", tmp_path / "run")):
        code, _, err = run_command(capsys, *arguments)
        assert code == 3
        assert is_one_complaint(err)
    assert not (tmp_path / "run").exists()


def test_check_lists_counts_and_faults(category, capsys, tmp_path):
    code, out, _ = run_command(capsys, "check", category)
    assert code == 0
    assert "layout mvtec" in out
    data = tmp_path / "data"
    shutil.copytree(category, data)
    (data / "ground_truth/square/000_mask.png").unlink()
    (data / "train/good/000.png").write_bytes(b"")
    code, out, _ = run_command(capsys, "check", data, "--json")
    assert code == 3
    errors = [item for item in json.loads(out)["findings"] if item["severity"] == "error"]
    assert {item["path"].split("/")[-1] for item in errors} >= {"000.png"}
    assert len(errors) == 2


def test_train_evaluate_predict(category, capsys, tmp_path):
    (tmp_path / "c.toml").write_text(write_toml(small_config()), encoding="utf-8")
    run = tmp_path / "mein lauf"
    code, out, err = run_command(capsys, "train", category, "--output", run, "--config", tmp_path / "c.toml")
    assert code == 0, err
    assert "trained on" in out
    assert "on 12 good images (layout mvtec) in" in out
    advice = out.splitlines()[-1]
    assert advice.startswith(f"19 more good photographs through `cavga calibrate {run} FOLDER` would guarantee")
    code, out, _ = run_command(capsys, "evaluate", run, category)
    assert code == 0
    assert "pixel AUROC" in out
    elsewhere = ("--json", "--output", tmp_path / "elsewhere")
    code, out, _ = run_command(capsys, "evaluate", run, category, *elsewhere, "--without", run, "--without", run)
    written = json.loads((tmp_path / "elsewhere/metrics.json").read_text())
    assert written == {**json.loads(out), "files": written["files"]}
    code, out, _ = run_command(
        capsys, "predict", run, category / "test", "--output", tmp_path / "p", "--maps", "--overlays"
    )
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "p/predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    evaluated = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    by_name = {line["path"].split("test/")[1]: line["score"] for line in lines}
    assert all(by_name[line["path"].split("test/")[1]] == pytest.approx(line["score"], abs=1e-5) for line in evaluated)
    with Image.open(tmp_path / "p/maps/square/000.tiff") as picture:
        raw = np.asarray(picture)
    assert raw.dtype == np.float32
    assert raw.shape == (48, 48)
    with Image.open(tmp_path / "p/overlays/square/000.png") as picture:
        assert picture.height > 48  # the caption is below the photograph


def test_train_says_which_labelled_bad_images_were_drawn(run_folder, capsys, monkeypatch):
    description = json.loads((run_folder / "model.json").read_text())
    description["provenance"] |= {"train_anomalous": 2, "drawn": ["test/cut/007.png", "test/hole/001.png"]}
    monkeypatch.setattr("cavga.training.train.train", lambda *_arguments, **_options: run_folder)
    monkeypatch.setattr("cavga.runs.model_json.load_description", lambda _run: description)
    code, out, _ = run_command(capsys, "train", "DATA", "--output", "RUN")
    assert code == 0
    assert "on 12 good and 2 labelled bad images (layout" in out
    assert "drawn from the test set: test/cut/007.png, test/hole/001.png" in out.splitlines()[1]


def test_a_corrupt_image_among_others_is_exit_4(run_folder, category, capsys, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(category / "test/good", photos)
    (photos / "001.png").write_bytes(b"not an image")
    code, out, err = run_command(capsys, "predict", run_folder, photos, "--output", tmp_path / "p")
    assert code == 4
    assert "001.png" in err
    assert "3 images scored" in out
    lines = [json.loads(line) for line in (tmp_path / "p/predictions.jsonl").read_text().splitlines()]
    assert [line["error"] is None for line in lines] == [True, False, True, True]
    assert lines[1]["score"] is None


def test_predict_with_a_threshold_of_ones_own(run_folder, category, capsys, tmp_path):
    arguments = ("predict", run_folder, category / "test/good", "--output", tmp_path / "p", "--json")
    for threshold, expected in ((-1.0, 4), (1e9, 0)):
        _, out, _ = run_command(capsys, *arguments, "--threshold", threshold)
        assert json.loads(out)["anomalous"] == expected


@pytest.mark.parametrize("threshold", ["nan", "inf"])
def test_a_threshold_that_is_no_number(run_folder, category, capsys, tmp_path, threshold):
    arguments = ("predict", run_folder, category / "test", "--output", tmp_path / "p", "--threshold", threshold)
    code, _, err = run_command(capsys, *arguments)
    assert (code, is_one_complaint(err)) == (2, True)


def test_predictions_never_overwrite_a_runs_or_become_input(run_folder, category, capsys):
    for output in (run_folder, category / "test/results"):
        code, _, err = run_command(capsys, "predict", run_folder, category / "test", "--output", output)
        assert (code, is_one_complaint(err)) == (2, True)
    assert not (category / "test/results").exists()


def test_skip_bad_names_what_it_left_out(category, capsys, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(category, data)
    (data / "train/good/003.png").write_bytes(b"")
    (tmp_path / "c.toml").write_text(write_toml(small_config(epochs=1)), encoding="utf-8")
    arguments = ("train", data, "--output", tmp_path / "run", "--config", tmp_path / "c.toml")
    code, _, err = run_command(capsys, *arguments)
    assert code == 3
    code, _, err = run_command(capsys, *arguments, "--skip-bad")
    assert code == 4
    assert "003.png" in err


def test_pictures_of_two_inputs_of_one_name_do_not_overwrite_each_other(run_folder, capsys, tmp_path):
    paths = [save_image(tmp_path / folder / "x.png", texture(i)) for i, folder in enumerate(("a", "b"))]
    code, _, _ = run_command(capsys, "predict", run_folder, *paths, "--output", tmp_path / "p", "--overlays")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "p/overlays").iterdir()) == ["x-2.png", "x.png"]


@pytest.mark.parametrize("damage", ["weights", "json", "foreign", "missing"])
def test_a_damaged_model_is_exit_1_in_one_line(run_folder, category, capsys, tmp_path, damage):
    model = tmp_path / "model"
    shutil.copytree(run_folder, model)
    if damage == "weights":
        content = bytearray((model / "model.safetensors").read_bytes())
        content[len(content) // 2] ^= 1
        (model / "model.safetensors").write_bytes(content)
    elif damage == "json":
        (model / "model.json").write_text("{}")
    elif damage == "foreign":
        model = category / "test/good/000.png"
    else:
        model = tmp_path / "nothing"
    code, _, err = run_command(capsys, "predict", model, category / "test", "--output", tmp_path / "p")
    assert code == 1
    if damage == "foreign":
        assert err == f"cavga: expected a run folder or an exported .onnx, .xml or .pt2 file, found {model}\n"
    assert is_one_complaint(err)
    assert not (tmp_path / "p").exists()


def test_several_categories_without_a_choice(tmp_path, capsys):
    for name in ("nut", "bolt"):
        save_image(tmp_path / "data" / name / "train/good/0.png", texture(0))
    code, _, err = run_command(capsys, "train", tmp_path / "data", "--output", tmp_path / "run")
    assert code == 2
    assert "bolt" in err
    assert "nut" in err


def test_ctrl_c_is_exit_130_and_resumable(category, tmp_path):
    (tmp_path / "c.toml").write_text(write_toml(small_config(epochs=400)), encoding="utf-8")
    command = [sys.executable, "-m", "cavga", "train", category, "--output", tmp_path / "run"]
    # Tests that were started in the background of a script ignore Ctrl-C, and what they start would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*map(str, command), "--config", str(tmp_path / "c.toml")], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    log = tmp_path / "run/log.jsonl"
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
def test_sigterm_is_exit_143_and_leaves_nothing_half_done(run_folder, tmp_path):
    paths = [save_image(tmp_path / f"photographs/{i}.png", texture(i)) for i in range(3)]
    for i in range(3, 2000):
        os.link(paths[i % 3], tmp_path / f"photographs/{i:04d}.png")
    command = [sys.executable, "-m", "cavga", "predict", run_folder, tmp_path / "photographs", "--output"]
    process = subprocess.Popen([*map(str, command), str(tmp_path / "p")], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("p/.*.tmp")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "cavga: terminated\n")
    assert not (tmp_path / "p").exists()


def test_a_full_disk_is_one_line(run_folder, category, capsys, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device", "predictions.jsonl")

    monkeypatch.setattr(os, "replace", full)
    code, _, err = run_command(capsys, "predict", run_folder, category / "test", "--output", tmp_path / "p")
    assert code == 1
    assert "No space left" in err
    assert is_one_complaint(err)
    assert not (tmp_path / "p/predictions.jsonl").exists()


def test_what_pillow_warns_of_is_not_shown(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((40, 40), 50 * i, np.uint8)).save(tmp_path / f"{i}.tif", tiffinfo={270: "text" * 20})
    content = (tmp_path / "0.tif").read_bytes()
    longer = content.replace(struct.pack("<HHI", 270, 2, 81), struct.pack("<HHI", 270, 2, 810000))
    assert longer != content
    (tmp_path / "0.tif").write_bytes(longer)
    done = cavga("check", tmp_path)
    assert "Warning" not in done.stderr
    assert "TiffImagePlugin" not in done.stderr


def test_without_torch_the_missing_extra_is_named(tmp_path, category):
    block = "import sys; sys.modules['torch'] = None; from cavga.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", block, "train", str(category), "--output", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'cavga[train]'" in done.stderr
    assert "Traceback" not in done.stderr
