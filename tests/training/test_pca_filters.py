import numpy as np
import pytest
import torch
from torch import nn

from cavga.config.backbones import BACKBONES
from cavga.model.encoder import DcganEncoder, TorchvisionEncoder
from cavga.training.pca_filters import init_filters_by_pca

CPU = torch.device("cpu")


def waves(count=4, size=64):
    """Vertical waves of a period of 8 px and any phase, and a little noise."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1, 1))
    x = np.arange(size)[None, None, :, None]
    grey = 128 + 80 * np.sin(2 * np.pi * x / 8 + phase) + rng.normal(0, 2, (count, size, size, 1))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8), 3, axis=3)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TorchvisionEncoder(BACKBONES["resnet18"], depth=1, frozen=False)


def test_the_first_are_what_the_surface_is_made_of(encoder):
    before = encoder.conv1.weight.clone()
    init_filters_by_pca(encoder, waves(), device=CPU)
    weight = encoder.conv1.weight
    leading = weight[0].mean(dim=0)
    assert leading.std(dim=0).max() < 0.1 * leading.std(dim=1).max()  # alike down a column, a wave along a row
    changed = (weight != before).flatten(1).any(dim=1)
    assert 4 <= changed.sum() < 64  # there are few directions in such images: the others stay random
    num = int(changed.sum()) // 2
    assert torch.equal(weight[:num], -weight[num : 2 * num])


@pytest.mark.parametrize("name", ["resnet18", "dcgan"])
def test_noise_of_any_colour_sets_all_of_them(name, encoder):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    chosen = encoder if name == "resnet18" else DcganEncoder(depth=1, frozen=False)
    first = next(module for module in chosen.modules() if isinstance(module, nn.Conv2d))
    before = first.weight.clone()
    init_filters_by_pca(chosen, images, device=CPU)
    assert (first.weight != before).flatten(1).any(dim=1).all()
    assert torch.isfinite(first.weight).all()


def test_flat_images_leave_them_as_they_are(encoder):
    before = encoder.conv1.weight.clone()
    init_filters_by_pca(encoder, np.full((2, 32, 32, 3), 77, np.uint8), device=CPU)
    assert torch.equal(before, encoder.conv1.weight)
