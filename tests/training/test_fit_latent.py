import numpy as np
import pytest
import torch

from cavga.model.build import build
from cavga.model.latent import LatentHead
from cavga.training.fit_latent import EIGENVALUE_FLOOR, _set_scales, fit_latent, fit_prior_variance, whitening_of
from tests.conftest import small_config


def correlated_maps():
    torch.manual_seed(0)
    mixing = torch.randn(6, 6, dtype=torch.float64)
    rows = torch.randn(4, 6, 30, 30, dtype=torch.float64)
    return (torch.einsum("kc,bchw->bkhw", mixing, rows) + 3.0).float(), mixing


def whitened(maps, *, power=0.5, spectrum=(0.0, 1.0), max_channels=99):
    return whitening_of(maps, power=power, spectrum=spectrum, max_channels=max_channels)


def test_a_lower_power_leaves_more_of_the_variances():
    maps, _ = correlated_maps()
    rows = maps.permute(1, 0, 2, 3).flatten(1)
    values = torch.linalg.eigvalsh(torch.cov(rows.double())).flip(0)
    whitening = whitened([maps], power=0.25, max_channels=4)
    found = torch.cov(whitening.matrix @ rows).diagonal().double()
    expected = values[:4] / (values[:4] + EIGENVALUE_FLOOR * values.mean()).sqrt()
    assert torch.allclose(found, expected, rtol=1e-2)


def test_whitening_gives_zero_mean_and_the_floored_variance():
    maps, _ = correlated_maps()
    whitening = whitened([maps[:1], maps[1:]])
    rows = maps.permute(1, 0, 2, 3).flatten(1)
    mu = whitening.matrix @ rows + whitening.bias[:, None]
    values = torch.linalg.eigvalsh(torch.cov(rows.double())).flip(0)
    expected = values / (values + EIGENVALUE_FLOOR * values.mean())
    assert torch.allclose(mu.mean(dim=1), torch.zeros(6), atol=1e-4)
    assert torch.allclose(torch.cov(mu), torch.diag(expected).float(), atol=1e-2)


def test_one_pass_over_batches_is_the_covariance_of_all():
    maps, _ = correlated_maps()
    together = whitened([maps])
    apart = whitened([maps[i : i + 1] for i in range(4)])
    assert torch.allclose(together.matrix.abs(), apart.matrix.abs(), atol=1e-5)


@pytest.mark.parametrize(("spectrum", "num_kept"), [((0.0, 1.0), 6), ((0.5, 1.0), 3), ((0.0, 0.5), 3)])
def test_the_spectrum_keeps_a_range_of_directions(spectrum, num_kept):
    maps, _ = correlated_maps()
    part, whole = whitened([maps], spectrum=spectrum), whitened([maps])
    start = round(spectrum[0] * 6)
    assert torch.allclose(part.matrix, whole.matrix[start : start + num_kept])


def test_prior_variance_makes_every_position_as_surprising_as_any_other():
    config = small_config()
    torch.manual_seed(0)
    model = build(config.model, image_size=(64, 64))
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    fit_latent(model, images, config.model, device=torch.device("cpu"))
    fit_prior_variance(model, images, device=torch.device("cpu"))
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        mean_map = model.anomaly_map(model.encode(batch)).mean(dim=0)
    assert torch.allclose(mean_map, torch.ones_like(mean_map), atol=1e-3)


def test_a_constant_channel_is_a_direction_of_its_own():
    # 6 channels that vary and 20 that do not, at the value that the logarithm has there.
    maps, _ = correlated_maps()
    maps = torch.cat([maps, torch.full((4, 20, 30, 30), -2.3025851)], dim=1)
    whitening = whitened([maps])
    constant = whitening.matrix[6:].abs()
    assert torch.equal((constant > 0).sum(dim=1), torch.ones(20, dtype=torch.int64))
    # Turned into each other they would add up to sqrt(20) times as much, to be taken away again.
    assert whitening.bias[6:].abs().max() == pytest.approx(constant.max().item() * 2.3025851, rel=1e-4)


def test_what_is_active_by_rounding_alone_has_no_unit():
    head = LatentHead(channels=[3], strides=[8], stride=8, latent_channels=2, is_local=False, is_log=True)
    features = torch.ones(1, 3, 4, 4) * torch.tensor([0.5, 1e-7, 1e-3]).view(1, 3, 1, 1)
    _set_scales(head, iter([[features], [features]]))
    assert head.scales[0].tolist() == pytest.approx([0.5, 1.0, 1e-3])
