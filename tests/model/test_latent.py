import pytest
import torch
from torch import nn

from cavga.attention import grad_cam, latent_sum_cam
from cavga.model.latent import LatentHead

CHANNELS, STRIDES = [3, 4, 5], [4, 8, 16]


def stages(size=64):
    torch.manual_seed(1)
    return [torch.randn(2, c, size // s, size // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def make_head(latent=6):
    torch.manual_seed(0)
    return LatentHead(channels=CHANNELS, strides=STRIDES, stride=8, latent_channels=latent)


def test_projecting_each_stage_equals_projecting_the_merged_map():
    head, features = make_head(), stages()
    nn.init.normal_(head.bias)
    weight = torch.cat([projection.weight for projection in head.projections], dim=1)
    expected = nn.functional.conv2d(head.merged(features), weight, head.bias)
    assert torch.allclose(head(features), expected, atol=1e-5)


def test_set_projection_is_the_matrix_on_the_merged_map():
    head, features = make_head(), stages()
    matrix, bias = torch.randn(7, sum(CHANNELS)), torch.randn(7)
    head.set_projection(matrix, bias)
    expected = torch.einsum("kc,bchw->bkhw", matrix, head.merged(features)) + bias.view(1, -1, 1, 1)
    assert torch.allclose(head(features), expected, atol=1e-4)
    assert head.num_channels == 7


def test_a_single_stage_is_taken_as_it_is():
    head = LatentHead(channels=[5], strides=[16], stride=16, latent_channels=2)
    features = torch.randn(1, 5, 3, 3)
    assert torch.equal(head.merged([features]), features)


@pytest.mark.parametrize("is_trained", [True, False])
def test_set_projection_keeps_what_is_trained(is_trained):
    head = make_head()
    head.requires_grad_(is_trained)
    head.set_projection(torch.randn(7, sum(CHANNELS)), torch.randn(7))
    assert all(parameter.requires_grad == is_trained for parameter in head.parameters())


def test_the_closed_form_holds_for_the_papers_head():
    head = LatentHead(channels=[5], strides=[32], stride=32, latent_channels=6)
    nn.init.normal_(head.bias)
    features = torch.randn(2, 5, 4, 4, requires_grad=True)
    mu = head([features])
    assert torch.allclose(latent_sum_cam(mu, head.bias), grad_cam(mu.sum(), features), atol=1e-5)
