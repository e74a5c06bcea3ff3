"""Photographs in their own shape, from training to an exported model, with a model that trains in a second."""

import json
import logging

import numpy as np
import pytest

import cavga
from cavga.config.presets import make_config
from cavga.config.toml import read_toml
from cavga.evaluation.evaluate import evaluate
from cavga.exporting.export import export_run
from cavga.inference.exported_formats import FORMATS
from cavga.inference.torch_engine import load_run
from cavga.runs.model_json import load_description
from cavga.training.inputs import gather_training_images
from cavga.training.train import train
from tests.conftest import run_command, save_image, without_shape_checks
from tests.prediction.test_large_photographs import surface

SIZE, INPUT = (100, 250), (160, 416)  # of a photograph, and of the model's input
SQUARE = (slice(60, 84), slice(190, 214))  # of a defect


def config_of(**data):
    return make_config(
        "recommended",
        {
            "data": data,
            "model": {"variant": "r-u", "weights": "none", "latent_channels": 8, "decoder_width": 8, "stages": (1,)},
            "loss": {"adversarial_weight": 0.0},
            "training": {"epochs": 1, "batch_size": 8, "device": "cpu"},
        },
    )


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("oblong")
    mask = np.zeros(SIZE, np.uint8)
    mask[SQUARE] = 255
    for i in range(6):
        save_image(root / f"train/good/{i}.png", surface(*SIZE, i))
    for i in range(3):
        save_image(root / f"test/good/{i}.png", surface(*SIZE, 100 + i))
        save_image(root / f"test/square/{i}.png", np.maximum(surface(*SIZE, 200 + i), mask[..., None]))
        save_image(root / f"ground_truth/square/{i}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def run(photographs, tmp_path_factory):
    return train(photographs, tmp_path_factory.mktemp("runs") / "run", config_of())


def test_the_settled_size_is_written_wherever_a_size_is(run):
    assert read_toml(run / "config.toml")[1]["data"]["image_size"] == list(INPUT)
    description = load_description(run)
    assert description["preprocessing"]["image_size"] == description["config"]["data"]["image_size"] == list(INPUT)


def test_a_defect_is_found_where_it_is(run, photographs):
    (prediction,) = cavga.AnomalyDetector.load(run).predict(photographs / "test/square/0.png")
    assert prediction.anomaly_map.shape == INPUT
    assert prediction.image_size == SIZE
    row, column = np.unravel_index(prediction.anomaly_map.argmax(), INPUT)
    y, x = row * SIZE[0] / INPUT[0], column * SIZE[1] / INPUT[1]
    assert 55 <= y <= 89
    assert 185 <= x <= 219
    x, y, width, height = prediction.regions()[0].box
    assert 150 <= x < x + width <= SIZE[1]
    assert 30 <= y < y + height <= SIZE[0]


def test_results_have_the_photographs_pixels(run, photographs, tmp_path, capsys):
    arguments = (run, photographs / "test", "--output", tmp_path / "out", "--coco", "--overlays")
    code, _, error = run_command(capsys, "predict", *arguments)
    assert code == 0, error
    image = json.loads((tmp_path / "out/coco.json").read_text())["images"][0]
    assert (image["height"], image["width"]) == SIZE


def test_it_is_evaluated_at_its_input_size(run, photographs):
    metrics = evaluate(run, photographs).metrics
    assert metrics["pixel"]["resolution"] == list(INPUT)
    assert metrics["pixel"]["auroc"] > 0.9


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_an_exported_file_says_the_same(run, photographs, tmp_path, kind):
    if kind == "openvino":
        pytest.importorskip("openvino")
    suffix = FORMATS[kind].suffix
    with without_shape_checks():
        exported = export_run(run, output=tmp_path / f"model{suffix}", format=kind)
    assert exported.check.decisions_changed == 0
    path = photographs / "test/square/1.png"
    (expected,) = cavga.AnomalyDetector.load(run).predict(path)
    (found,) = cavga.AnomalyDetector.load(exported.path).predict(path)
    assert found.anomaly_map.shape == INPUT
    assert found.score == pytest.approx(expected.score, rel=1e-3)
    assert np.abs(found.anomaly_map - expected.anomaly_map).max() <= 1e-3 * np.abs(expected.anomaly_map).max()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"tile": 96}, (256, 256)), ({"roi": "10,10,60,80"}, (288, 224)), ({"roi": "0,0,60,80", "tile": 60}, (256, 256))],
)
def test_tiles_are_square_and_a_region_has_its_own_shape(photographs, settings, expected):
    config = config_of(**settings)
    inputs = gather_training_images(photographs, config)
    assert inputs.tiling.image_size == inputs.settled(config).data.input_size == expected


def test_training_says_the_size_and_that_shapes_are_mixed(photographs, tmp_path, caplog):
    for i in range(3):
        save_image(tmp_path / f"photos/a{i}.png", surface(*SIZE, i))
        save_image(tmp_path / f"photos/b{i}.png", surface(SIZE[1], SIZE[0], i))
    with caplog.at_level(logging.INFO, "cavga"):
        train(tmp_path / "photos", tmp_path / "run", config_of())
    said = [record.getMessage() for record in caplog.records]
    assert any("input is 160 x 416 pixels" in line for line in said)
    (mixed,) = [line for line in said if "mixed shapes" in line]
    assert "3 of 6" in mixed


def test_a_run_is_resumed_with_the_size_it_settled(photographs, run, tmp_path):
    first = train(photographs, tmp_path / "run", config_of())
    assert train(photographs, first, config_of(), resume=True) == first
    assert train(photographs, first, config_of(image_size=INPUT), resume=True) == first


def test_a_run_of_before_with_one_number_loads_as_it_was(run_folder, tmp_path):
    from cavga.config.presets import from_dict
    from cavga.config.schema import as_dict

    engine, description = load_run(run_folder, "cpu")
    old = {**description["config"], "data": {**description["config"]["data"], "image_size": 32}}
    assert from_dict(old).data.input_size == engine.image_size == (32, 32)
    assert as_dict(from_dict(old)) == as_dict(from_dict(description["config"]))
