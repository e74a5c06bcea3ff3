"""CAM, guided backpropagation, SmoothGrad and Patho-GAN: what they explain, and that they are what their papers say."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from cavga.benchmark.baselines import explanations, index, patho_gan
from cavga.benchmark.baselines.label_classifier import ExplanationGraph, LabelClassifier
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.runner import run_table
from cavga.config.presets import make_config
from cavga.data.readers import lag as lag_reader
from cavga.errors import MissingExtraError
from cavga.inference.torch_engine import TorchEngine
from tests.conftest import run_command
from tests.data.made_sets import lag

CPU = torch.device("cpu")
LABELLED = index.of_kind(index.LABELLED)
SMALL = {
    "data": {"image_size": (32, 32)},
    "model": {"variant": "r-w", "weights": "none", "stages": (2,)},
    "training": {"epochs": 8, "batch_size": 8, "learning_rate": 1e-3, "device": "cpu"},
}


def noisy(count, *, has_patch, seed):
    images = np.random.default_rng(seed).integers(90, 120, (count, 32, 32, 3), dtype=np.uint8)
    if has_patch:
        images[:, 8:18, 14:24, 0] = 240
    return images


@pytest.fixture(scope="module")
def graphs():
    config = make_config("recommended", SMALL)
    found = {
        name: ExplanationGraph(explain, config, noisy(12, has_patch=True, seed=1)) for name, explain in LABELLED.items()
    }
    found["cam"].fit(noisy(24, has_patch=False, seed=2), CPU)
    for graph in found.values():
        graph.model = found["cam"].model  # one classifier explains itself in three ways
    return found


@pytest.mark.parametrize("name", LABELLED)
def test_the_probability_detects_and_the_map_is_highest_at_what_was_labelled(graphs, name):
    engine = TorchEngine(graphs[name], CPU)  # in inference mode, as everywhere else
    good, bad = (engine.score(list(noisy(6, has_patch=patch, seed=5))) for patch in (False, True))
    assert 0 <= good.scores.max() < 0.5 < bad.scores.min() <= 1
    assert bad.maps.shape == (6, 32, 32)
    inside, outside = bad.maps[:, 8:18, 14:24].mean(), bad.maps[:, 24:, :8].mean()
    assert inside > outside


@pytest.mark.parametrize("name", LABELLED)
def test_a_map_does_not_depend_on_the_rest_of_the_batch(graphs, name):
    engine, images = TorchEngine(graphs[name], CPU), list(noisy(3, has_patch=True, seed=6))
    alone = np.concatenate([engine.score([image]).maps for image in images])
    # A batch is summed in another order than an image, and a unit at the edge of its ReLU may change sides by that.
    is_same = np.isclose(engine.score(images).maps, alone, rtol=1e-3, atol=1e-4 * alone.max())
    assert is_same.mean() > 0.98


@pytest.fixture
def images():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_cam_is_the_features_weighted_by_the_linear_unit(graphs, images):
    model = graphs["cam"].model
    features = model.encoder(images)[2]
    expected = (model.head.weight[0][:, None, None] * features[0]).sum(dim=0)
    assert torch.allclose(graphs["cam"].saliency(images)[0], expected, atol=1e-5)


def test_patho_gan_takes_the_active_features_that_lie_together():
    features = torch.zeros(8, 6, 6)
    features[0, 2:4, 2:4] = 3.0  # active and compact
    features[1, ::5, ::5] = 3.0  # active in four corners
    features[2] = 2.0  # everywhere
    features[3, 0, 0] = 1.0  # compact, and hardly active
    features[4:] = 0.1
    assert patho_gan.selected(features).tolist() == [3, 0]
    spread = patho_gan.moments(features)
    assert spread[3] < 1e-6 < spread[0] < spread[2] < spread[1]


class Quadratic(LabelClassifier):
    """Half the sum of squares of red: its gradient is red itself, at noisy copies too, so nothing rests on rounding.

    A ReLU would change sides under noise far smaller than what two processors differ by.
    """

    def forward(self, images):
        return (images[:, 0] ** 2 / 2).sum(dim=(1, 2))


def test_smoothgrad_is_the_mean_gradient_at_noisy_copies(graphs, images, monkeypatch):
    attributions = graphs["smoothgrad"].attributions
    model, images = Quadratic(graphs["smoothgrad"].config), 1 + images
    before = torch.random.get_rng_state()
    found = explanations.smoothgrad(attributions, model, images, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    value_range = float(images.amax() - images.amin())
    expected = explanations.NOISE * value_range / explanations.NUM_SAMPLES**0.5  # of a mean of independent noise
    assert float((found - images[:, 0]).std()) == pytest.approx(expected, rel=0.1)
    monkeypatch.setattr(explanations, "NOISE", 0.0)  # then it is the gradient itself
    assert torch.allclose(explanations.smoothgrad(attributions, model, images, 0), images[:, 0], atol=1e-5)


class GuidedRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features):
        ctx.save_for_backward(features)
        return features.clamp_min(0)

    @staticmethod
    def backward(ctx, gradient):
        (features,) = ctx.saved_tensors
        return gradient.clamp_min(0) * (features > 0)


def test_guided_backpropagation_lets_positive_gradients_alone_through_every_relu(graphs, images, monkeypatch):
    found = graphs["guided_backprop"].saliency(images.clone())
    monkeypatch.setattr(functional, "relu", lambda features, inplace=False: GuidedRelu.apply(features))
    moved = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(graphs["guided_backprop"].model(moved).sum(), moved)
    assert torch.allclose(found, gradient.abs().amax(dim=1), rtol=1e-3, atol=1e-6)


def small_table5(_seeds, _weights):
    overrides = {**SMALL, "training": {**SMALL["training"], "epochs": 1}}
    return [Experiment(name, "lag", name, overrides=overrides, with_spare=True, note="control") for name in LABELLED]


def test_lag_from_its_files_to_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(lag_reader, "NUM_TEST", 5)
    monkeypatch.setattr(explanations, "NUM_SAMPLES", 4)
    monkeypatch.setitem(TABLES, "table5", small_table5)
    lag(tmp_path / "root/lag", num_normal=12, num_suspicious=8)
    rows = run_table("table5", tmp_path / "out", data=tmp_path / "root").rows
    assert [row["error"] for row in rows] == [None] * len(LABELLED)
    for row in rows:
        counts = row["metrics"]["counts"]
        assert (counts["train_anomalous"], counts["test_anomalous"], counts["excluded"]) == (3, 5, 0)
        assert counts["with_mask"] == 5
        assert 0 <= row["metrics"]["pixel"]["auroc"] <= 1
        assert row["metrics"]["provenance"]["calibration"]["threshold_rule"] == "conformal"
    assert len({row["metrics"]["image"]["auroc"] for row in rows}) == 1  # one classifier, a map each
    assert not list((tmp_path / "out").rglob("images-*"))


def test_where_none_is_left_over_some_of_the_test_are_drawn_and_not_tested(tmp_path, monkeypatch):
    monkeypatch.setitem(TABLES, "table5", lambda seeds, weights: small_table5(seeds, weights)[:1])
    lag(tmp_path / "root/lag", num_normal=12, num_suspicious=4)
    (row,) = run_table("table5", tmp_path / "out", data=tmp_path / "root").rows
    counts = row["metrics"]["counts"]
    assert (counts["train_anomalous"], counts["test_anomalous"], counts["excluded"]) == (1, 3, 1)


def test_without_captum_the_row_fails_with_one_line_that_says_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(TABLES, "table5", small_table5)
    lag(tmp_path / "root/lag", num_normal=12, num_suspicious=4)
    code, _, err = run_command(
        capsys, "benchmark", "table5", "--data", tmp_path / "root", "--output", tmp_path / "out", "--variants", "cam"
    )
    assert code == 4
    assert "pip install 'cavga[baselines]'" in err
    assert "Traceback" not in err
    with pytest.raises(MissingExtraError, match=r"cavga\[baselines\]"):
        ExplanationGraph(LABELLED["cam"], make_config("recommended", SMALL), noisy(1, has_patch=True, seed=0))


def test_table_5_says_that_they_see_labels():
    experiments = {
        experiment.method: experiment for experiment in TABLES["table5"]((0,), None) if experiment.method in LABELLED
    }
    assert set(experiments) == set(LABELLED)
    assert all(
        "sees anomalous training images" in experiment.note and experiment.with_spare
        for experiment in experiments.values()
    )
    assert all(experiment.config().model.stages == (4,) for experiment in experiments.values())
