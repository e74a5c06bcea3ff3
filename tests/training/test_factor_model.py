import pytest
import torch

from cavga.training.factor_model import EXPLAINED, LeaveOutFactors, factors


def by_svd(flat):
    """As `factors`, from the images themselves."""
    mean = flat.mean(dim=0)
    _, values, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    shares = values.square().cumsum(dim=0) / values.square().sum()
    return mean, directions[: int((shares < EXPLAINED).sum()) + 1]


def rows(num_images, num_units):
    generator = torch.Generator().manual_seed(num_images)
    scales = torch.linspace(3, 0.1, num_units)
    return torch.randn(num_images, num_units, generator=generator) * scales + 5


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
def test_it_is_the_principal_components_of_the_images(shape):
    flat = rows(*shape)
    assert_same(factors(flat), by_svd(flat))


def assert_same(found, expected):
    assert torch.allclose(found[0], expected[0], atol=1e-4)
    assert found[1].shape == expected[1].shape
    # A direction has no sign: what both project to is the same.
    assert torch.allclose(found[1].T @ found[1], expected[1].T @ expected[1], atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 40), (40, 12)])
@pytest.mark.parametrize("left_out", [[0], [3, 4, 11]])
def test_without_some_images_it_is_the_one_fitted_without_them(shape, left_out):
    flat = rows(*shape)
    is_left_out = torch.isin(torch.arange(len(flat)), torch.tensor(left_out))
    assert_same(LeaveOutFactors(flat).without(is_left_out), by_svd(flat[~is_left_out]))


def test_images_that_are_all_alike_have_no_directions():
    mean, basis = factors(torch.full((4, 6), 2.5))
    assert mean.tolist() == [2.5] * 6
    assert basis.shape == (0, 6)


def test_of_two_images_one_direction_is_left_and_of_one_none():
    flat = rows(2, 10)
    assert factors(flat)[1].shape == (1, 10)
    mean, basis = LeaveOutFactors(flat).without(torch.tensor([True, False]))
    assert torch.allclose(mean, flat[1])
    assert basis.shape == (0, 10)
