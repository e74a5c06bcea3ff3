import math

import pytest
import torch
from torch import nn

from cavga.attention import grad_cam, latent_sum_cam
from cavga.model.latent import LatentHead, to_size

CHANNELS, STRIDES = [3, 4, 5], [4, 8, 16]


def stages(size=64):
    torch.manual_seed(1)
    return [torch.randn(2, c, size // s, size // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def make_head(latent=6, *, is_log=False):
    torch.manual_seed(0)
    return LatentHead(
        channels=CHANNELS, strides=STRIDES, stride=8, latent_channels=latent, is_local=True, is_log=is_log
    )


@pytest.mark.parametrize("is_log", [False, True])
def test_projecting_each_stage_equals_projecting_the_merged_map(is_log):
    head, features = make_head(is_log=is_log), stages()
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


def test_the_papers_stage_is_taken_as_it_is():
    head = LatentHead(channels=[5], strides=[16], stride=16, latent_channels=2, is_local=False, is_log=False)
    features = torch.randn(1, 5, 3, 3)
    assert torch.equal(head.merged([features]), features)


@pytest.mark.parametrize("is_trained", [True, False])
def test_set_projection_keeps_what_is_trained(is_trained):
    head = make_head()
    head.requires_grad_(is_trained)
    head.set_projection(torch.randn(7, sum(CHANNELS)), torch.randn(7))
    assert all(parameter.requires_grad == is_trained for parameter in head.parameters())


def test_the_closed_form_holds_for_the_papers_head():
    head = LatentHead(channels=[5], strides=[32], stride=32, latent_channels=6, is_local=False, is_log=False)
    nn.init.normal_(head.bias)
    features = torch.randn(2, 5, 4, 4, requires_grad=True)
    mu = head([features])
    assert torch.allclose(latent_sum_cam(mu, head.bias), grad_cam(mu.sum(), features), atol=1e-5)


def test_the_logarithm_turns_contrast_into_an_offset():
    head = make_head(is_log=True)
    features = [one.abs() + 10 for one in stages()]  # far above the offset
    doubled = [2 * one for one in features]
    difference = head.merged(doubled) - head.merged(features)
    assert torch.allclose(difference, torch.full_like(difference, math.log(2)), atol=0.01)


def test_a_local_head_sees_the_mean_of_neighbours():
    head = LatentHead(channels=[1], strides=[8], stride=8, latent_channels=1, is_local=True, is_log=False)
    features = torch.zeros(1, 1, 3, 3)
    features[0, 0, 0, 0] = 36.0
    assert head.merged([features])[0, 0].tolist() == [[9, 6, 0], [6, 4, 0], [0, 0, 0]]


@pytest.mark.parametrize("size", [(6, 9), (12, 18), (3, 3)])
def test_the_local_mean_is_average_pooling_without_the_padding(size):
    features = torch.randn(2, 5, 6, 9)
    expected = nn.functional.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
    assert torch.allclose(to_size(features, size, is_local=True), to_size(expected, size), atol=1e-6)


def test_shrinking_takes_block_means():
    features = torch.randn(2, 3, 8, 6)
    assert torch.allclose(to_size(features, (4, 3)), nn.functional.avg_pool2d(features, 2), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 12), (12, 24), (4, 6)])
def test_enlarging_is_torchs_bilinear_interpolation(size):
    features = torch.randn(2, 3, 4, 6)
    expected = nn.functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
    assert torch.allclose(to_size(features, size), expected, atol=1e-6)
