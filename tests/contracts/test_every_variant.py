"""What every variant and preset has to do: train, save, load, predict, evaluate, be the same twice."""

import json

import numpy as np
import pytest
import torch

import cavga
from cavga.config.presets import PRESETS
from cavga.config.variant import VARIANTS
from tests.conftest import small_config

# An s variant stands on a whitened latent: the paper has none.
PAIRS = [(preset, variant) for preset in PRESETS for variant in VARIANTS if preset != "paper" or variant[-1] != "s"]


@pytest.fixture(scope="module", params=PAIRS)
def trained(request, category, tmp_path_factory):
    preset, variant = request.param
    run = tmp_path_factory.mktemp("contract") / "run"
    return cavga.train(category, run, small_config(preset, variant, epochs=1)), preset, variant


def test_train_evaluate_predict(trained, category, tmp_path):
    run, preset, variant = trained
    metrics = cavga.evaluate(run, category, tmp_path).metrics
    assert metrics["provenance"]["variant"] == variant
    assert metrics["provenance"]["preset"] == preset
    for part in ("image", "pixel"):
        assert 0 <= metrics[part]["auroc"] <= 1
    json.dumps(metrics, allow_nan=False)


def test_loading_gives_the_same_predictions(trained, category):
    run, _, _ = trained
    images = [path for path in sorted((category / "test").rglob("*.png"))]
    first = [p.score for p in cavga.AnomalyDetector.load(run).predict(images)]
    again = [p.score for p in cavga.AnomalyDetector.load(run).predict(images)]
    assert first == again
    assert np.isfinite(first).all()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (128, 128), (32, 96), (256, 256)])
@pytest.mark.parametrize(("preset", "variant"), PAIRS)
def test_sizes(preset, variant, size):
    from dataclasses import replace

    from cavga.inference.graph import InferenceGraph
    from cavga.model.build import build

    config = small_config(preset, variant)
    config = replace(config, data=replace(config.data, image_size=size))
    model = build(config.model, image_size=size)
    graph = InferenceGraph(model, image_size=size, image_score=config.model.image_score)
    with torch.no_grad():
        assert graph(torch.zeros(1, 40, 50, 3, dtype=torch.uint8)).anomaly_map.shape == (1, *size)


def test_the_papers_full_r_at_256_px_has_a_latent_of_8_by_8_by_512():
    from cavga.config.presets import make_config
    from cavga.model.build import build

    config = make_config("paper", {"model": {"weights": "none"}})
    model = build(config.model, image_size=(256, 256)).eval()
    with torch.no_grad():
        output = model(torch.rand(1, 3, 256, 256))
    assert output.z.shape == (1, 512, 8, 8)
    assert output.reconstruction_logits.shape == (1, 3, 256, 256)
    assert all(parameter.requires_grad for parameter in model.parameters() if parameter.dim() > 1)
