import math

import numpy as np
import pytest
import torch

from cavga.benchmark.baselines.patchcore import PatchcoreGraph, nearest_neighbours, reweighted
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.runner import run_table
from cavga.config.presets import make_config
from cavga.model.build import build

BANK = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 5.0]])


def make_graph(stages=(2, 3), *, size=(64, 64), seed=0, variant="r-u"):
    overrides = {"model": {"variant": variant, "weights": "none", "stages": stages}, "data": {"image_size": size}}
    torch.manual_seed(0)
    return PatchcoreGraph(build(make_config("recommended", overrides).model, image_size=size), image_size=size,
                          seed=seed)  # fmt: skip


def grey_images(count, *, seed=0, size=64):
    return np.random.default_rng(seed).integers(100, 140, (count, size, size, 3), dtype=np.uint8)


def as_batch(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def test_distances_to_the_nearest_of_a_bank_by_hand():
    patches = torch.tensor([[3.0, 4.0], [0.0, 1.0], [3.0, 0.0]])
    distances, nearest = nearest_neighbours(patches, BANK)
    # (3, 4) is 5 from (0, 0), 4 from (3, 0) and sqrt(10) from (0, 5).
    assert distances.tolist() == pytest.approx([math.sqrt(10), 1.0, 0.0])
    assert nearest.tolist() == [2, 0, 1]


def test_reweighting_by_hand():
    # All three of the bank are among the b nearest of (3, 0); the patch (3, 4) is 5, 4 and sqrt(10) from them.
    patch, distance = torch.tensor([3.0, 4.0]), torch.tensor(4.0)
    weight = 1 - math.exp(4) / (math.exp(5) + math.exp(4) + math.exp(math.sqrt(10)))
    assert reweighted(distance, patch, BANK, nearest=1).item() == pytest.approx(4 * weight, rel=1e-6)


def test_reweighting_asks_the_nearest_of_the_nearest_alone(monkeypatch):
    monkeypatch.setattr("cavga.benchmark.baselines.patchcore.NUM_NEIGHBOURS", 2)
    patch, distance = torch.tensor([3.0, 4.0]), torch.tensor(4.0)
    weight = 1 - math.exp(4) / (math.exp(4) + math.exp(5))  # (0, 5) is no neighbour of (3, 0)
    assert reweighted(distance, patch, BANK, nearest=1).item() == pytest.approx(4 * weight, rel=1e-6)


def test_great_distances_do_not_overflow():
    patch, distance = torch.tensor([900.0, 0.0]), torch.tensor(897.0)
    assert 0 <= reweighted(distance, patch, BANK, nearest=1).item() < 897


def test_the_bank_is_a_tenth_of_the_training_patches():
    graph = make_graph()
    images = grey_images(20)
    graph.fit(images, torch.device("cpu"))
    with torch.no_grad():
        patches = graph.patches(as_batch(images)).flatten(0, 2)
    assert graph.bank.shape == (round(0.1 * 20 * 8 * 8), 128 + 256)
    assert nearest_neighbours(graph.bank, patches)[0].max() < 1e-2


def test_a_patch_is_the_3x3_mean_of_each_stage_before_they_are_merged():
    graph, batch = make_graph(), as_batch(grey_images(1))
    with torch.no_grad():
        patches, maps = graph.patches(batch), graph.model.encoder(batch)
    assert patches.shape == (1, 8, 8, 384)
    assert torch.allclose(patches[0, 3, 5, :128], maps[2][0, :, 2:5, 4:7].mean(dim=(1, 2)), atol=1e-5)
    corner = maps[3][0, :, :2, :2].sum(dim=(1, 2)) / 9  # zeros count; the corner of the enlarged map is the small one's
    assert torch.allclose(patches[0, 0, 0, 128:], corner, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "stages", "expected"),
    [("r-u", (1, 2, 3), (2, 3)), ("r-u", (0, 1), (0, 1)), ("r-u", (3,), (3,)), ("d-u", (1,), (1,))],
)
def test_stages_2_and_3_are_read_or_all_there_are(variant, stages, expected):
    graph = make_graph(stages, variant=variant)
    assert graph.stages == expected
    graph.fit(grey_images(2), torch.device("cpu"))
    with torch.no_grad():
        output = graph.score_images(as_batch(grey_images(2, seed=1)))
    assert output.anomaly_map.shape == (2, 64, 64)
    assert torch.isfinite(output.score).all()


def test_a_patch_that_no_training_image_has_is_found():
    graph, images = make_graph(), grey_images(20)
    graph.fit(images, torch.device("cpu"))
    odd = images[:1].copy()
    odd[0, 16:32, 40:56] = 255
    with torch.no_grad():
        output = graph.score_images(as_batch(np.concatenate([odd, grey_images(1, seed=1)])))
    row, column = np.unravel_index(int(output.anomaly_map[0].argmax()), (64, 64))
    assert 12 <= row < 36
    assert 36 <= column < 60
    assert output.score[0] > 1.5 * output.score[1]


def test_scores_are_those_of_images_one_by_one():
    graph = make_graph()
    graph.fit(grey_images(4), torch.device("cpu"))
    batch = as_batch(grey_images(3, seed=1))
    with torch.no_grad():
        together = graph.score_images(batch).score
        alone = torch.cat([graph.score_images(image[None]).score for image in batch])
    assert torch.allclose(together, alone, rtol=1e-4)


def test_the_same_seed_keeps_the_same_bank():
    banks = []
    for seed in (0, 0, 1):
        graph = make_graph(seed=seed)
        graph.fit(grey_images(20), torch.device("cpu"))
        banks.append(graph.bank)
    assert torch.equal(banks[0], banks[1])
    assert not torch.equal(banks[0], banks[2])


def test_it_is_calibrated_and_evaluated_as_a_cell(category, tmp_path, monkeypatch):
    overrides = {
        "data": {"image_size": (32, 32)},
        "model": {"weights": "none", "latent_channels": 8, "decoder_width": 8},
        "training": {"epochs": 1, "batch_size": 5, "device": "cpu"},
    }
    experiments = [
        Experiment("ours", category.name, overrides=overrides),
        Experiment("control", category.name, "patchcore", overrides=overrides, features_of="ours"),
    ]
    monkeypatch.setitem(TABLES, "small", lambda seeds, weights: experiments)
    ours, baseline = run_table("small", tmp_path, data=category.parent).rows
    assert baseline["error"] is None
    assert baseline["method"] == "patchcore"
    assert baseline["metrics"]["image"]["auroc"] is not None
    assert baseline["metrics"]["image"]["threshold"] != ours["metrics"]["image"]["threshold"]
    assert not list(tmp_path.rglob("images-*"))
