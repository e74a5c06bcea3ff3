"""One run a category, and all of them around one encoder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from benchmarks.scale.made_sets import small_config
from cavga.config.toml import write_toml
from cavga.errors import ModelFileError, ResumeError, UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage
from cavga.scale.categories import categories_of, train_categories
from cavga.scale.packed import TOLERANCE, packed_path
from cavga.scale.routed_models import RoutedModels
from cavga.scale.work_list import Item, items_of
from tests.conftest import is_one_complaint, run_command, save_image, texture
from tests.scale.conftest import rows_of

NAMES = ("bolt", "cap", "nut")


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("parts") / "parts"
    for number, name in enumerate(NAMES):
        for i in range(8):
            save_image(root / name / f"{i}.png", texture(100 * number + i))
    return root


@pytest.fixture(scope="module")
def runs(parts, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    rows = train_categories(parts, output, small_config())
    assert [(row.category, row.error) for row in rows] == [(name, None) for name in NAMES]
    return output


def test_the_encoder_is_stored_once_and_a_category_is_its_heads(runs):
    (encoder,) = (runs / "packed/encoders").glob("*.safetensors")
    for name in NAMES:
        with safe_open(packed_path(runs, name), "pt") as file:
            assert not any(key.startswith("model.encoder.") for key in file.keys())  # noqa: SIM118
        whole = (runs / name / "model.safetensors").stat().st_size
        assert packed_path(runs, name).stat().st_size < whole - encoder.stat().st_size + 100_000


def test_images_of_all_categories_are_scored_as_by_their_own_runs(runs, parts, monkeypatch):
    monkeypatch.setattr("cavga.scale.routed_models.MAX_BUILT", 1)  # so that modules are made again
    items = list(items_of(str(parts)))[::-1]
    found = {scored.item.key: scored.result for scored in RoutedModels(runs, "cpu").results(items)}
    assert len(found) == len(items) == 24
    for name in NAMES:
        detector = AnomalyDetector.load(runs / name, device="cpu")
        unit = max(1e-3, detector.normal_scores.scores.std()) if detector.normal_scores else 1.0
        for expected in detector.predict(parts / name):
            got = found[f"{name}/{expected.path.name}"]
            assert got.score == pytest.approx(expected.score, abs=2 * TOLERANCE * unit)
            assert got.threshold == expected.threshold


def test_the_command_line_routes_a_manifest(runs, parts, tmp_path, capsys):
    lines = [f"{parts}/{name}/{i}.png,{name}" for i in range(2) for name in NAMES]
    (tmp_path / "list.csv").write_text("\n".join(["image,category", *lines]))
    flags = ["--models", runs, "--shard", "0/1", "--output", tmp_path / "out"]
    assert run_command(capsys, "predict", tmp_path / "list.csv", *flags)[0] == 0
    rows = rows_of(tmp_path / "out")
    assert sorted(row["category"] for row in rows) == sorted([*NAMES, *NAMES])
    models = {row["category"]: row["model"] for row in rows}
    assert len(set(models.values())) == 3


def test_an_image_without_a_model_is_said_and_the_others_are_scored(runs, parts):
    place = str(parts / "nut/0.png")
    items = [Item("a", place, "washer"), Item("b", place, None), Item("c", place, "nut"), Item("d", "no.png", "nut")]
    results = {scored.item.key: scored.result for scored in RoutedModels(runs, "cpu").results(items)}
    assert [isinstance(results[key], FailedImage) for key in "abcd"] == [True, True, False, True]
    assert "no model" in results["a"].error


def test_what_is_done_stays_and_what_is_not_is_done(runs, parts, tmp_path, capsys):
    output, data = tmp_path / "runs", shutil.copytree(parts, tmp_path / "parts")
    shutil.copytree(runs / "bolt", output / "bolt")
    before = (output / "bolt/model.safetensors").stat().st_mtime_ns
    (data / "cap/broken.png").write_bytes(b"no image")
    (tmp_path / "small.toml").write_text(write_toml(small_config()))
    command = ["train", data, "--categories", "all", "--output", output, "--config", tmp_path / "small.toml"]
    code, out, err = run_command(capsys, *command, "--json")
    assert code == 4
    assert "cap: " in err
    assert [row["error"] is None for row in json.loads(out)["rows"]] == [True, False, True]
    (data / "cap/broken.png").unlink()
    assert run_command(capsys, *command)[0] == 0
    assert (output / "bolt/model.safetensors").stat().st_mtime_ns == before
    assert len((output / "categories.csv").read_text().splitlines()) == 4


def test_runs_of_other_settings_are_not_mixed(runs, parts):
    with pytest.raises(ResumeError, match="other settings"):
        train_categories(parts, runs, replace(small_config(), training=replace(small_config().training, seed=1)))


def test_a_manifest_names_categories(parts, tmp_path):
    lines = [f"{parts}/{name}/{i}.png,{name}" for name in NAMES for i in range(8)]
    (tmp_path / "list.csv").write_text("\n".join(["image,category", *lines]))
    assert categories_of(tmp_path / "list.csv") == list(NAMES)
    config = small_config()
    (row,) = train_categories(tmp_path / "list.csv", tmp_path / "runs", config, chosen=["nut"])
    assert (row.images, row.error) == (8, None)


def test_a_set_of_one_category_is_refused(category):
    with pytest.raises(UsageError, match="one category"):
        categories_of(category)


def test_what_does_not_belong_together_is_refused(runs, parts, tmp_path):
    output = shutil.copytree(runs, tmp_path / "runs")
    (encoder,) = (output / "packed/encoders").glob("*.safetensors")
    content = bytearray(encoder.read_bytes())
    content[-5] ^= 1
    encoder.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged"):
        RoutedModels(output, "cpu").detector_of("nut")
    shutil.rmtree(output / "cap")
    shutil.copytree(output / "nut", output / "cap")
    with pytest.raises(ModelFileError, match="earlier version"):
        RoutedModels(output, "cpu").detector_of("cap")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--categories", ","], "expected all, or names"),
        (["--categories", "washer"], "unknown category 'washer'"),
        (["--engine", "ray"], "it trains many categories"),
        (["--categories", "all", "--gpus", "1"], "is for --engine ray"),
    ],
)
def test_what_is_wrong_is_one_line(parts, tmp_path, capsys, flags, expected):
    code, _, err = run_command(capsys, "train", parts, "--output", tmp_path / "runs", *flags)
    assert (code, expected in err) == (2, True)
    assert is_one_complaint(err)
    assert not (tmp_path / "runs").exists()


def test_new_thresholds_of_a_run_are_in_force(runs, tmp_path, capsys):
    output = shutil.copytree(runs, tmp_path / "runs")
    assert run_command(capsys, "calibrate", output / "nut", "--threshold", "3.5")[0] == 0
    detector = RoutedModels(output, "cpu").detector_of("nut")
    assert detector is not None
    assert detector.image_threshold == 3.5
