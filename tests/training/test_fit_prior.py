import copy

import numpy as np
import pytest
import torch

import cavga
from cavga.config.presets import make_config
from cavga.data.dataset import TrainingImages, image_batch
from cavga.model.build import build
from cavga.model.prior import CLOSEST, AggregatedPrior, flattened
from cavga.training import fit_prior
from cavga.training.factor_model import factors
from cavga.training.fit_guided_head import choose_left_out
from cavga.training.fit_latent import fit_latent
from cavga.training.fit_prior import SHRINKAGE, draw_images, fit_aggregated_prior, leave_outs
from cavga.training.train import train
from tests.conftest import AfterEachStep, small_config, texture
from tests.model.test_prior import AGGREGATED, CPU

MODEL = {"variant": "r-u", "weights": "none", "latent_channels": 6, **AGGREGATED}


def fitted(num_images=20, size=64):
    config = make_config("recommended", {"data": {"image_size": (size, size)}, "model": MODEL})
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


HELD = [3, 8, 13, 18]  # one fold of `fitted`


def test_every_image_is_measured_by_a_mixture_that_has_not_seen_its_fold():
    network, images, held_out = fitted()
    fold = copy.deepcopy(network)
    others = TrainingImages(images[[i for i in range(20) if i not in HELD]], 16)
    fit_aggregated_prior(fold, others, folds_of(16), seed=0, device=CPU)
    with torch.no_grad():
        expected = fold.prior.local_energy(network.encode(image_batch(images, np.array(HELD), CPU)).mu)
    assert torch.allclose(held_out.energies.local[HELD], expected, rtol=1e-2)  # z is kept in half precision
    assert held_out.images.tolist() == list(range(20))


def test_every_image_is_measured_by_a_factor_model_of_all_but_a_part_of_its_fold():
    network, images, held_out = fitted()
    with torch.no_grad():
        mu = network.encode(image_batch(images, np.arange(20), CPU)).mu
    flat = flattened(mu)
    for image in HELD:  # 20 leave-outs of 5 folds: a fold of 4 images has one a part
        mean, basis = factors(flat[[i for i in range(20) if i != image]])
        residual = flat[image] - mean
        residual = residual - (residual @ basis.T) @ basis
        assert held_out.energies.flat_score[image].item() == pytest.approx(residual.norm().item(), rel=1e-2)


def test_parts_of_a_fold_cut_no_unit_and_leave_no_image_out():
    units = np.array([7, 7, 3, 3, 3, 1, 4, 5])
    parts = leave_outs(units, 4, seed=0)
    assert len(parts) == 4
    assert sorted(np.concatenate(parts).tolist()) == list(range(8))
    assert all(len({number for number, part in enumerate(parts) if unit in units[part]}) == 1 for unit in units)
    assert len(leave_outs(np.array([2, 2]), 4, seed=0)) == 1


def test_copies_are_left_out_of_what_measures_them_together():
    network, images, apart = fitted()
    twice = images.copy()
    twice[8] = twice[3]
    units = np.array([3 if i == 8 else i for i in range(20)])
    together = fit_aggregated_prior(network, TrainingImages(twice, 20, units=units), folds_of(20), seed=0, device=CPU)
    assert together.energies.flat_score[3] == pytest.approx(together.energies.flat_score[8].item(), rel=1e-4)
    assert together.energies.flat_score[3] > 0.8 * apart.energies.flat_score[3]  # its copy would explain it


def test_of_many_images_some_are_drawn_and_as_many_cells_of_each(monkeypatch):
    monkeypatch.setattr(fit_prior, "MAX_PATCHES", 12 * 64)
    monkeypatch.setattr(fit_prior, "MAX_LEFT_OUT", 1)
    monkeypatch.setattr(fit_prior, "MAX_CANDIDATES", 120)
    network, _, held_out = fitted()
    assert len(held_out.images) == len(set(held_out.images.tolist())) == 12
    assert len(held_out.energies.local) == len(held_out.energies.flat_score) == 12
    assert len(network.prior.centres) == 120  # 10 of 64 patches of each image, and there is room for all


@pytest.mark.parametrize(
    ("side", "num_images", "num_measured"),
    [(32, 5000, 1000), (64, 5000, 250), (128, 2000, 64), (256, 2000, 64), (64, 200, 200), (128, 10, 10)],
)
def test_what_c_does_not_see_is_measured_at_every_size(side, num_images, num_measured):
    wanted = min(64, num_images // 5)
    images = TrainingImages(np.broadcast_to(np.uint8(0), (num_images, 8 * side, 8 * side, 3)), num_images)
    for seed in range(40):
        chosen, measured = draw_images(images, (side, side), seed)
        assert len(measured) == num_measured
        assert set(chosen) <= set(measured)
        is_left_out = choose_left_out(num_images, seed, measured=measured)
        assert np.isin(measured, np.flatnonzero(is_left_out)).sum() == is_left_out.sum() == wanted


def test_of_large_photographs_too():
    photographs = np.repeat(np.arange(100), 400)
    images = TrainingImages(np.broadcast_to(np.uint8(0), (40000, 256, 256, 3)), 40000, photographs)
    for seed in range(40):
        _, measured = draw_images(images, (32, 32), seed)
        left_out = np.flatnonzero(choose_left_out(40000, seed, photographs=photographs, measured=measured))
        assert np.isin(left_out, measured).all()
        assert len(left_out) == 20 * 400


def test_an_image_that_is_measured_and_not_fitted_to_is_measured_like_the_others(monkeypatch):
    monkeypatch.setattr(fit_prior, "MAX_LEFT_OUT", 12)
    monkeypatch.setattr(fit_prior, "MAX_PATCHES", 10 * 64)
    network, images, held_out = fitted()
    assert len(held_out.images) == len(held_out.energies.local) == 12
    patches, scores = network.prior.joined(held_out.energies)
    for values in (patches, scores):
        assert values.mean().item() == pytest.approx(0, abs=1e-4)
    chosen, _ = draw_images(TrainingImages(images, 20), (8, 8), 0)
    is_fitted_to = torch.from_numpy(np.isin(held_out.images, chosen))
    assert is_fitted_to.sum() == 10
    # By the others' priors, all of them: none is as near as a training image is to a prior that remembers it.
    assert held_out.energies.local.mean(dim=(1, 2)).min() > 2 * CLOSEST


def test_scales_are_those_of_the_measured_images():
    network, _, held_out = fitted()
    patches, scores = network.prior.joined(held_out.energies)
    for values in (patches, scores):
        assert values.mean().item() == pytest.approx(0, abs=1e-4)
        assert values.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_variances_are_the_nearest_centres_distances_shrunk_towards_their_mean():
    from cavga.training.fit_prior import _variances

    centres = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    raw = torch.tensor([(1 + 9 + 49) / 3, (1 + 4 + 36) / 3, (4 + 9 + 16) / 3, (16 + 36 + 49) / 3])
    assert torch.allclose(_variances(centres), raw + SHRINKAGE * raw.mean())


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

    def stop(epochs):
        if epochs > 2.001:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(category, tmp_path / "part", config, progress=AfterEachStep(stop))
    part = cavga.train(category, tmp_path / "part", config, resume=True)
    assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
