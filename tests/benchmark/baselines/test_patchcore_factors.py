import numpy as np
import pytest
import torch

from cavga.benchmark.baselines.patchcore import PatchcoreGraph
from cavga.benchmark.baselines.patchcore_factors import CORESET_SHARE, PatchcoreFactorsGraph
from cavga.config.presets import make_config
from cavga.model.build import build

CPU = torch.device("cpu")


def noisy(count, *, seed=0):
    return np.random.default_rng(seed).integers(100, 140, (count, 64, 64, 3), dtype=np.uint8)


def as_batch(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def graph():
    overrides = {"model": {"variant": "r-u", "weights": "none", "stages": (2, 3)}, "data": {"image_size": (64, 64)}}
    torch.manual_seed(0)
    model = build(make_config("recommended", overrides).model, image_size=(64, 64))
    found = PatchcoreFactorsGraph(model, image_size=(64, 64), seed=0)
    found.fit(noisy(20), CPU)
    return found


def scored(graph, images):
    with torch.no_grad():
        return graph.score_images(as_batch(images))


def test_the_memory_is_2_percent_of_all_patches_and_patchcores_own(graph):
    assert graph.memory.bank.shape[0] == round(CORESET_SHARE * 20 * 8 * 8)
    alone = PatchcoreGraph(graph.memory.model, image_size=(64, 64), seed=0, coreset_share=CORESET_SHARE)
    alone.fit(noisy(20), CPU)
    assert torch.equal(alone.bank, graph.memory.bank)


def test_the_score_is_the_larger_of_both_in_units_of_images_that_neither_has_seen(graph):
    images = noisy(6, seed=1)
    with torch.no_grad():
        own = graph.memory.score_images(as_batch(images)).score
        flat = graph.prior.energies(graph.memory.model.encode(as_batch(images)).mu).flat_score
    (own_mean, flat_mean), (own_std, flat_std) = graph.score_scales
    expected = torch.maximum((own - own_mean) / own_std, (flat - flat_mean) / flat_std)
    assert torch.allclose(scored(graph, images).score, expected, atol=1e-3)
    # Of four images that are held out, some are above their mean; images that were fitted to are far below it.
    assert scored(graph, images).score.mean() > scored(graph, noisy(20)[:6]).score.mean()


def test_what_no_training_image_has_is_found_where_it_is(graph):
    odd = noisy(2, seed=2)
    odd[0, 16:32, 40:56] = 255
    output = scored(graph, odd)
    row, column = np.unravel_index(int(output.anomaly_map[0].argmax()), (64, 64))
    assert 12 <= row < 36
    assert 36 <= column < 60
    assert output.score[0] > output.score[1]


def test_one_image_is_measured_by_itself(graph):
    alone = PatchcoreFactorsGraph(graph.memory.model, image_size=(64, 64), seed=0)
    alone.fit(noisy(1), CPU)
    assert torch.isfinite(scored(alone, noisy(2, seed=3)).score).all()
