"""The comparison methods with networks or statistics of their own: each learns, and its failure would be seen."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cavga.benchmark.baselines import index
from cavga.config.presets import make_config
from cavga.errors import TrainingError
from cavga.inference.torch_engine import TorchEngine
from tests.benchmark.baselines.made_bars import bars, config, eighth_of_dcgan, lying

CPU = torch.device("cpu")
# Epochs of 4 batches; what it takes to tell bars that lie from those that stand.
EPOCHS = {
    "memae": 15, "lsa": 12, "ocgan": 12, "anogan": 60, "adgan": 60, "avid": 20, "ulslm": 20, "capsnet_pp": 20,
    "capsnet_re": 20,
}  # fmt: skip
STATISTICS = ("cnnfd", "ti", "vm")
METHODS = (*EPOCHS, *STATISTICS)
SYMMETRIC = (*STATISTICS, "ulslm")  # untrained, ULSLM ranks by its random weights
LEARNT, UNLEARNT = 0.9, 0.75  # image AUROC


@pytest.fixture(scope="module")
def fitted():
    """Gives a method fitted to bars that stand; each is fitted once."""
    graphs = {}

    def graph_of(name):
        if name not in graphs:
            with eighth_of_dcgan():
                graphs[name] = made(name)
                graphs[name].fit(bars(16), CPU)
        return graphs[name]

    return graph_of


def made(name):
    """The method, not fitted."""
    settings = config(epochs=EPOCHS.get(name, 1), batch_size=4, learning_rate=2e-3)
    if name == "cnnfd":
        size = {"image_size": (32, 32)}
        settings = make_config(
            "recommended", {"data": size, "model": {"variant": "r-u", "weights": "none", "stages": (3,)}}
        )
    return index.BASELINES[name].make(settings)


def auroc(graph):
    """Of 12 bars that lie among 12 others that stand."""
    engine = TorchEngine(graph, CPU)  # in inference mode, as everywhere else
    scored = engine.score([*bars(12, seed=2), *lying(12)])
    assert scored.maps.shape == (24, 32, 32)
    assert np.isfinite(scored.maps).all()
    return roc_auc_score([0] * 12 + [1] * 12, scored.scores)


@pytest.mark.parametrize("name", [name for name in EPOCHS if name not in SYMMETRIC])
def test_it_tells_what_it_was_not_fitted_to_and_untrained_it_does_not(name, fitted):
    with eighth_of_dcgan():
        untrained = made(name).eval()
    assert auroc(fitted(name)) >= LEARNT
    assert abs(auroc(untrained) - 0.5) <= UNLEARNT - 0.5


@pytest.mark.parametrize("name", SYMMETRIC)
def test_it_tells_what_it_was_not_fitted_to_and_fitted_to_that_it_tells_the_rest(name, fitted):
    with eighth_of_dcgan():
        other = made(name)
        other.fit(lying(16, seed=0), CPU)
    assert auroc(fitted(name)) >= LEARNT
    assert auroc(other) <= 1 - LEARNT


@pytest.mark.parametrize("name", [name for name in METHODS if not index.BASELINES[name].no_modes])
def test_two_kinds_in_one_image_are_both_marked(name, fitted):
    clean, images = bars(4, seed=3), bars(4, seed=3)
    images[:, 12:20, 2:8] = 255  # beside the bar, and in it
    images[:, 12:20, 13:17] = 0
    before, after = (TorchEngine(fitted(name), CPU).score(list(part)).maps for part in (clean, images))
    for place in ((slice(12, 20), slice(2, 8)), (slice(12, 20), slice(13, 17))):
        assert after[:, *place].mean() > 1.2 * before[:, *place].mean()


@pytest.mark.parametrize("name", METHODS)
def test_a_score_does_not_depend_on_the_rest_of_the_batch(name, fitted):
    engine, images = TorchEngine(fitted(name), CPU), list(bars(3, seed=1))
    alone = np.concatenate([engine.score([image]).scores for image in images])
    assert engine.score(images).scores == pytest.approx(alone, rel=1e-3)


def test_a_loss_that_is_no_number_is_said():
    with eighth_of_dcgan():
        graph = index.BASELINES["memae"].make(config(learning_rate=1e30, epochs=3))
    with pytest.raises(TrainingError, match="the losses are"):
        graph.fit(bars(4), CPU)


def test_an_address_of_memae_is_sparse_and_sums_to_one(fitted):
    network = fitted("memae").model
    addresses = network.addresses(torch.randn(5, 64, generator=torch.Generator().manual_seed(0)))
    assert addresses.sum(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert ((addresses == 0).float().mean(dim=1) > 0.2).all()
