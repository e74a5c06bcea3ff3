import copy

import numpy as np
import pytest
import torch

import cavga
from cavga.attention import grad_cam
from cavga.config.presets import make_config
from cavga.data.dataset import TrainingImages, image_batch
from cavga.model.build import build
from cavga.model.prior import CLOSEST, FLAT_POOL, AggregatedPrior, Energies, distance_from_border, flattened, smoothed
from cavga.training import fit_prior
from cavga.training.fit_latent import fit_latent
from cavga.training.fit_patch_classifier import choose_left_out
from cavga.training.fit_prior import SHRINKAGE, fit_aggregated_prior
from tests.conftest import small_config, texture

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


def test_attention_is_the_element_wise_grad_cam_at_the_offset_from_the_nearest_centre():
    prior = prior_of([[1.0, -2.0], [5.0, 5.0]], [2.0, 3.0])
    prior.cell_scales[0, 0] = 1.5
    mu = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    squared = (mu[:, None] - prior.centres.view(1, 2, 2, 1, 1)).square().sum(dim=2)
    nearest = (squared / prior.variances.view(1, 2, 1, 1)).argmin(dim=1)
    offset = (mu - prior.centres[nearest].permute(0, 3, 1, 2)).requires_grad_()
    score = -(offset.square().sum(dim=1) / prior.variances[nearest]).sum() / (2 * 1.5**2)
    cam = grad_cam(score, offset, weighting="elementwise")
    assert torch.allclose(prior.attention(mu), (cam / 2).exp(), atol=1e-5)


def fitted(num_images=20, size=64):
    config = make_config(
        "recommended",
        {
            "data": {"image_size": (size, size)},
            "model": {"variant": "r-u", "weights": "none", "latent_channels": 6, **AGGREGATED},
        },
    )
    torch.manual_seed(0)
    network = build(config.model, image_size=(size, size))
    pixels = np.stack([texture(i, size=size) for i in range(num_images)])
    images = np.repeat(pixels[..., None], 3, axis=3)
    fit_latent(network, images, config.model, device=CPU)
    data = TrainingImages(images, num_images)
    held_out = fit_aggregated_prior(network, data, folds_of(num_images), seed=0, device=CPU)
    return network, images, held_out


def folds_of(num_images):
    return [list(range(k, num_images, 5)) for k in range(min(5, num_images))]


def test_what_it_was_fitted_to_has_no_energy_and_other_normal_images_have_about_the_unit():
    network, images, _ = fitted()
    with torch.no_grad():
        mu = network.encode(image_batch(images, np.arange(20), CPU)).mu
        fresh = np.repeat(np.stack([texture(i, size=64) for i in range(500, 540)])[..., None], 3, axis=3)
        patches, scores = network.prior(network.encode(image_batch(fresh, np.arange(40), CPU)).mu)
    # All 20 x 64 patches are candidates, and there is room for all of them.
    assert network.prior.local_energy(mu).max() == pytest.approx(CLOSEST)
    assert abs(patches.mean().item()) < 1
    assert abs(scores.mean().item()) < 2.5


def test_every_image_is_measured_by_a_prior_that_has_not_seen_it():
    network, images, held_out = fitted()
    fold = copy.deepcopy(network)
    others = [i for i in range(20) if i % 5 != 3]
    fit_aggregated_prior(fold, TrainingImages(images[others], len(images[others])), folds_of(16), seed=0, device=CPU)
    with torch.no_grad():
        mu = network.encode(image_batch(images, np.array([3, 8, 13, 18]), CPU)).mu
        expected = fold.prior.energies(mu)
    for name in ("local", "flat", "flat_score"):
        measured = getattr(held_out.energies, name)[[3, 8, 13, 18]]
        assert torch.allclose(measured, getattr(expected, name), rtol=1e-2)  # z is kept in half precision
    assert held_out.images.tolist() == list(range(20))


def test_of_many_images_some_are_drawn_and_as_many_cells_of_each(monkeypatch):
    monkeypatch.setattr(fit_prior, "MAX_PATCHES", 12 * 64)
    monkeypatch.setattr(fit_prior, "MAX_CANDIDATES", 120)
    network, _, held_out = fitted()
    assert len(held_out.images) == len(set(held_out.images.tolist())) == 12
    assert len(held_out.energies.local) == len(held_out.energies.flat_score) == 12
    assert len(network.prior.centres) == 120  # 10 of 64 patches of each image, and there is room for all


def test_scales_are_those_of_the_measured_images():
    network, _, held_out = fitted()
    patches, scores = network.prior.joined(held_out.energies)
    for values in (patches, scores):
        assert values.mean().item() == pytest.approx(0, abs=1e-4)
        assert values.std(correction=0).item() == pytest.approx(1, abs=1e-4)


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


def test_variances_are_the_nearest_centres_distances_shrunk_towards_their_mean():
    from cavga.training.fit_prior import _variances

    centres = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    raw = torch.tensor([(1 + 9 + 49) / 3, (1 + 4 + 36) / 3, (4 + 9 + 16) / 3, (16 + 36 + 49) / 3])
    assert torch.allclose(_variances(centres), raw + SHRINKAGE * raw.mean())


def test_the_left_out_are_a_fifth_by_seed_and_none_of_one():
    assert choose_left_out(20, 0).sum() == 4
    assert (choose_left_out(20, 0) == choose_left_out(20, 0)).all()
    assert (choose_left_out(20, 0) != choose_left_out(20, 1)).any()
    assert choose_left_out(1, 0).sum() == 0
    assert choose_left_out(2, 0).sum() == 1
    assert choose_left_out(5000, 0).sum() == 64


@pytest.mark.parametrize("num_images", [1, 2])
def test_a_single_image_is_measured_by_itself(num_images):
    network, images, _ = fitted(num_images=num_images, size=32)
    with torch.no_grad():
        patches, scores = network.prior(network.encode(image_batch(images, np.arange(num_images), CPU)).mu)
    assert torch.isfinite(patches).all()
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("variant", ["r-u", "d-u", "r-w"])
def test_a_run_with_it_is_saved_loaded_and_evaluated(variant, category, tmp_path):
    from dataclasses import replace

    config = small_config(variant=variant, epochs=1)
    config = replace(config, model=replace(config.model, **AGGREGATED))
    run = cavga.train(category, tmp_path / "run", config)
    metrics = cavga.evaluate(run, category).metrics
    assert 0.5 < metrics["pixel"]["auroc"] <= 1
    detector = cavga.AnomalyDetector.load(run)
    assert isinstance(detector.engine.graph.model.prior, AggregatedPrior)


def test_an_interrupted_run_with_it_goes_on_to_the_same_bits(category, tmp_path):
    from dataclasses import replace

    config = small_config(epochs=3)
    config = replace(config, model=replace(config.model, train_encoder=False, **AGGREGATED))
    whole = cavga.train(category, tmp_path / "whole", config)

    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        cavga.train(category, tmp_path / "part", config, on_step=stop)
    part = cavga.train(category, tmp_path / "part", config, resume=True)
    assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
