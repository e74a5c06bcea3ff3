import numpy as np
import pytest
import torch

from cavga.attention import grad_cam
from cavga.model.prior import CLOSEST, FLAT_POOL, AggregatedPrior, Energies, distance_from_border, flattened, smoothed

CPU = torch.device("cpu")
AGGREGATED = {"prior": "aggregated", "whitening": 0.25}


def prior_of(centres, variances, *, basis=None, map_size=(4, 4)):
    channels = len(centres[0])
    num_flat = channels * (map_size[0] // FLAT_POOL) * (map_size[1] // FLAT_POOL)
    basis = torch.zeros(0, num_flat) if basis is None else basis
    prior = AggregatedPrior(
        num_centres=len(centres), num_directions=len(basis), latent_channels=channels, map_size=map_size
    )
    prior.centres.copy_(torch.tensor(centres))
    prior.variances.copy_(torch.tensor(variances))
    prior.flat_basis.copy_(basis)
    return prior


def test_local_energy_by_hand():
    prior = prior_of([[0.0, 0.0], [10.0, 0.0]], [1.0, 4.0])
    mu = torch.zeros(1, 2, 4, 4)
    mu[0, :, 0, 0] = torch.tensor([3.0, 4.0])  # 5 from the first; sqrt(49 + 16) / 2 from the second
    mu[0, :, 0, 1] = torch.tensor([12.0, 0.0])  # 12 from the first; 2 / 2 from the second
    energy = prior.local_energy(mu)
    assert energy[0, 0, :2].tolist() == pytest.approx([65**0.5 / 2, 1.0])
    assert energy[0, 1:].numpy() == pytest.approx(CLOSEST)  # they lie on the first


def test_what_the_factors_explain_is_no_residual():
    torch.manual_seed(0)
    direction = torch.randn(8)
    prior = prior_of([[0.0, 0.0]], [1.0], basis=(direction / direction.norm())[None])
    explained = (3 * direction).view(1, 2, 2, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert flattened(explained)[0].tolist() == pytest.approx((3 * direction).tolist(), rel=1e-5)
    assert prior.flat_residual(explained).abs().max() < 1e-5
    assert prior.flat_residual(torch.randn(1, 2, 4, 4)).abs().max() > 0.1


def test_smoothing_keeps_the_mean_of_a_flat_map_and_spreads_a_point():
    assert torch.allclose(smoothed(torch.full((1, 5, 7), 3.0)), torch.full((1, 5, 7), 3.0))
    point = torch.zeros(1, 9, 9)
    point[0, 4, 4] = 1
    spread = smoothed(point)
    assert spread.sum().item() == pytest.approx(1, rel=1e-4)
    assert spread[0, 4, 5] / spread[0, 4, 4] == pytest.approx(np.exp(-0.5), rel=1e-4)


def test_attention_is_the_gradient_times_the_offset_from_the_nearest_centre_and_no_grad_cam():
    prior = prior_of([[1.0, -2.0], [5.0, 5.0]], [2.0, 3.0])
    prior.cell_scales[0, 0] = 1.5
    mu = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    squared = (mu[:, None] - prior.centres.view(1, 2, 2, 1, 1)).square().sum(dim=2)
    nearest = (squared / prior.variances.view(1, 2, 1, 1)).argmin(dim=1)
    offset = (mu - prior.centres[nearest].permute(0, 3, 1, 2)).requires_grad_()
    score = -(offset.square().sum(dim=1) / prior.variances[nearest]).sum() / (2 * 1.5**2)
    cam = grad_cam(score, offset, weighting="elementwise")
    assert torch.allclose(prior.attention(mu), (cam / 2).exp(), atol=1e-5)
    # Nothing but the energy, and not what the gradient gives at z itself.
    assert torch.allclose(prior.attention(mu), (-(prior.local_energy(mu) / 1.5).square() / 2).exp(), atol=1e-5)
    z = mu.clone().requires_grad_()
    at_z = grad_cam(-(prior.local_energy(z) / 1.5).square().sum() / 2, z, weighting="elementwise")
    assert not torch.allclose(prior.attention(mu), (at_z / 2).exp(), atol=0.1)


def test_a_cell_near_the_border_counts_less_where_normal_images_vary_more_there():
    torch.manual_seed(0)
    prior = prior_of([[0.0, 0.0]], [1.0], map_size=(12, 10))
    distance = distance_from_border(12, 10)
    assert distance[0].tolist() == [0] * 10
    assert distance[6].tolist() == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]
    wide = 5 + 3 * torch.randn(400, 12, 10)  # the outermost patches
    narrow = 1 + 0.1 * torch.randn(400, 12, 10)  # those next to them: less than the inner ones, which then count
    local = torch.where(distance == 0, wide, torch.where(distance == 1, narrow, 2 + torch.randn(400, 12, 10)))
    prior.set_scales(Energies(local, local, torch.randn(400)))
    mean, deviation = prior.cell_scales[0]
    assert mean[distance == 0].tolist() == pytest.approx([5.0] * 40, abs=0.1)
    assert deviation[distance == 0].tolist() == pytest.approx([3.0] * 40, abs=0.1)
    for near in (distance == 1, distance == 4):
        assert mean[near].numpy() == pytest.approx(2, abs=0.1)
        assert deviation[near].numpy() == pytest.approx(1, abs=0.1)


def test_an_image_is_as_anomalous_as_the_more_surprised_of_the_two_models_says():
    prior = prior_of([[0.0, 0.0]], [1.0])
    prior.scales[:2] = torch.tensor([[1.0, 2.0], [10.0, 5.0]])
    local = torch.tensor([1.0, 7.0, 1.0])[:, None, None].expand(3, 4, 4)
    energies = Energies(local, torch.zeros(3, 4, 4), torch.tensor([10.0, 10.0, 30.0]))
    assert prior.joined(energies)[1].tolist() == [0.0, 3.0, 4.0]
