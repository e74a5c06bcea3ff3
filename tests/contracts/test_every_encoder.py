"""What every encoder of backbone R has to do: fit each size; train, evaluate, predict, load, be refused in one line."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import cavga
from cavga.config.presets import make_config
from cavga.config.toml import read_toml
from cavga.inference.graph import graph_of
from cavga.model.build import build
from cavga.model.networks import whole_network
from cavga.runs.checkpoint import load_model, save_model
from tests.conftest import TESTED_BACKBONES, run_command, small_config


def config_of(preset="recommended", variant="r-u", **model):
    config = small_config(preset, variant, epochs=1)
    override = {"variant": variant, "weights": "none", "latent_channels": 8, "decoder_width": 8, **model}
    return replace(make_config(preset, {"model": override}), data=config.data, training=config.training)


@pytest.fixture(scope="module")
def squeezenet_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(whole_network("squeezenet1_0").state_dict(), path)
    return path


@pytest.mark.parametrize("name", TESTED_BACKBONES)
@pytest.mark.parametrize("variant", ["r-u", "r-w"])
def test_a_map_has_a_cell_for_every_8_pixels(name, variant):
    for size in ((32, 32), (128, 128), (320, 96)):
        config = config_of(variant=variant, encoder=name, stages=(1, 2, 3), spectrum=(0.9, 1.0))
        config = replace(config, data=replace(config.data, image_size=size))
        model = build(config.model, image_size=size).eval()
        with torch.no_grad():
            images = torch.rand(1, 3, *size)
            assert model(images).z.shape[2:] == (size[0] // 8, size[1] // 8)
            assert graph_of(model, config).score_images(images).anomaly_map.shape == (1, *size)


@pytest.mark.parametrize(
    ("preset", "variant", "model"),
    [
        ("recommended", "r-u", {"weights": "FILE"}),
        ("recommended", "r-w", {}),
        ("paper", "r-u", {"stages": (3,)}),
        ("paper", "r-w", {"stages": (2, 3), "weights": "FILE"}),
    ],
)
def test_squeezenet_trains_evaluates_and_predicts(category, squeezenet_file, tmp_path, preset, variant, model):
    model = {key: str(squeezenet_file) if value == "FILE" else value for key, value in model.items()}
    config = config_of(preset, variant, encoder="squeezenet1_0", **model)
    run = cavga.train(category, tmp_path / "run", config)
    metrics = cavga.evaluate(run, category).metrics
    assert 0 <= metrics["pixel"]["auroc"] <= 1
    assert metrics["provenance"]["encoder"].startswith("R (squeezenet1_0) to layer")
    assert make_config(*read_toml(run / "config.toml")) == config
    scores = [p.score for p in cavga.AnomalyDetector.load(run).predict(category / "test/good")]
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert scores == pytest.approx([line["score"] for line in lines if line["label"] == 0], rel=1e-4, abs=1e-5)
    assert np.isfinite(scores).all()


def test_an_untrained_convnext_trains(category, tmp_path):
    run = cavga.train(category, tmp_path / "run", config_of(encoder="convnext_tiny"))
    assert np.isfinite([p.score for p in cavga.AnomalyDetector.load(run).predict(category / "test")]).all()


def test_a_run_from_before_the_field_is_one_of_resnet_18(run_folder, category, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run_folder, old)
    tensors, description = load_model(old)
    assert description["config"]["model"].pop("encoder") == "resnet18"
    save_model(old, tensors, {k: v for k, v in description.items() if k not in ("weights_sha256", "format_version")})
    scores = [[p.score for p in cavga.AnomalyDetector.load(run).predict(category)] for run in (run_folder, old)]
    assert scores[0] == scores[1]


@pytest.mark.usefixtures("with_exports", "few_synthetic")
def test_the_command_takes_an_encoder_and_refuses_what_does_not_fit(category, squeezenet_file, tmp_path, capsys):
    train = ("train", category, "--output", tmp_path / "run", "--image-size", 32, "--epochs", 1)
    code, _, err = run_command(capsys, *train, "--weights", squeezenet_file)
    assert (code, err.count("\n")) == (1, 1)
    assert "holds the weights of squeezenet1_0, not of resnet18" in err
    code, _, err = run_command(capsys, *train, "--variant", "d-u", "--encoder", "squeezenet1_0")
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "run").exists()
    code, _, err = run_command(capsys, *train, "--encoder", "squeezenet1_0", "--weights", squeezenet_file, "--json")
    assert (code, err) == (0, "")
    assert (tmp_path / "run/model.json").is_file()
    assert (tmp_path / "run/model.onnx").is_file()
