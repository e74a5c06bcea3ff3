"""The baselines whose network is one autoencoder."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from cavga.benchmark.baselines import index
from cavga.benchmark.baselines.advae import attention as advae_attention
from cavga.benchmark.baselines.ae_ssim import REACH, ssim
from cavga.benchmark.baselines.autoencoder import AutoencoderMethod, bernoulli_map, make_autoencoder
from cavga.benchmark.baselines.gamma_vae_g import GammaVaeGraph
from cavga.errors import TrainingError
from cavga.images.torch_resize import as_images
from cavga.inference.torch_engine import TorchEngine
from tests.benchmark.baselines.made_bars import bars, config, eighth_of_dcgan

CPU = torch.device("cpu")
TRAINED = {
    name: make
    for name, make in index.of_kind(index.TRAINED).items()
    if isinstance(make, AutoencoderMethod) or make is GammaVaeGraph  # the others: test_compared.py
}


def crossed(count):
    """Bars with a second, wider and brighter one across."""
    images = bars(count, seed=1)
    images[:, 8:24, :] = 255
    return images


@pytest.fixture(scope="module")
def fitted():
    """Every baseline after a few looks at bars, by its name; an eighth of DC-GAN's channels, to be quick."""
    graphs = {}
    with eighth_of_dcgan():
        for name, baseline in TRAINED.items():
            graphs[name] = baseline(config(epochs=12, batch_size=4, learning_rate=2e-3))
            graphs[name].fit(bars(16), CPU)
    return graphs


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "advae"])  # nothing makes its attention high
def test_what_no_training_image_has_scores_above_all_that_is_normal(fitted, name):
    engine = TorchEngine(fitted[name], CPU)  # in inference mode, as everywhere else
    normal, anomalous = engine.score(list(bars(8, seed=2))), engine.score(list(crossed(4)))
    assert anomalous.maps.shape == (4, 32, 32)
    assert np.isfinite(anomalous.maps).all()
    assert anomalous.scores.min() > normal.scores.max()


@pytest.mark.parametrize("name", [name for name in TRAINED if name != "advae"])
def test_two_kinds_in_one_image_are_both_marked(fitted, name):
    clean, images = bars(4, seed=3), bars(4, seed=3)
    images[:, 12:20, 2:8] = 255  # beside the bar, and in it
    images[:, 12:20, 13:17] = 0
    before, after = (TorchEngine(fitted[name], CPU).score(list(part)).maps for part in (clean, images))
    for place in ((slice(12, 20), slice(2, 8)), (slice(12, 20), slice(13, 17))):
        assert (after[:, *place].mean(axis=(1, 2)) > 1.2 * before[:, *place].mean(axis=(1, 2))).all()


@pytest.mark.parametrize("name", TRAINED)
def test_a_score_does_not_depend_on_the_rest_of_the_batch(fitted, name):
    engine = TorchEngine(fitted[name], CPU)
    images = list(bars(3, seed=1))
    alone = np.concatenate([engine.score([image]).scores for image in images])
    assert engine.score(images).scores == pytest.approx(alone, rel=1e-3)


def test_attention_of_advae_is_grad_cam_of_the_units_sum(fitted):
    graph = fitted["advae"]
    images = as_images(torch.from_numpy(bars(2, seed=1)))
    attention = advae_attention(graph.model, images)
    with torch.no_grad():
        features = graph.model.encoder(images)[2]

    def units_sum(changed):
        """From stage 2 on, the encoder's own layers one after the other."""
        for stage in graph.model.encoder.stages[2:]:
            changed = stage(changed)
        return graph.model.mu_head.projection(changed).sum()

    for one, expected in zip(features, attention, strict=True):
        gradient = torch.func.grad(units_sum)(one[None])[0]
        weights = gradient.mean(dim=(1, 2)) / (gradient.square().mean().sqrt() + 1e-5)
        assert torch.allclose((weights[:, None, None] * one).sum(dim=0).abs(), expected, rtol=1e-3, atol=1e-4)


def test_masks_are_the_maps_above_the_threshold(fitted):
    graph = fitted["ae_l2"]
    engine = TorchEngine(graph, CPU)
    scored = engine.score(list(bars(2, seed=1)))
    assert not scored.masks.any()  # the threshold is infinite until it is set
    engine.pixel_threshold = float(np.median(scored.maps))
    scored = engine.score(list(bars(2, seed=1)))
    engine.pixel_threshold = float("inf")
    assert (scored.masks == (scored.maps >= np.median(scored.maps))).all()


def test_a_second_fit_begins_anew():
    graph = TRAINED["gamma_vae_g"](config())
    scores = []
    for _ in range(2):
        graph.fit(bars(4), CPU)
        scores.append(TorchEngine(graph, CPU).score(list(bars(2))).scores.tolist())
    assert scores[0] == scores[1]


def test_a_loss_that_is_no_number_is_said():
    with pytest.raises(TrainingError, match="the loss is nan"):
        TRAINED["ae_l2"](config(learning_rate=1e30, epochs=3)).fit(bars(4), CPU)


def test_ssim_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    first = rng.random((3, 3, 40, 32)).astype(np.float32)
    second = np.clip(first + rng.normal(0, [[[[0.05]]], [[[0.3]]], [[[0.0]]]], first.shape), 0, 1).astype(np.float32)
    found = ssim(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    for i in range(3):
        for channel in range(3):
            expected, whole = structural_similarity(
                first[i, channel], second[i, channel], data_range=1.0, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False, full=True,
            )  # fmt: skip
            inside = (slice(REACH, -REACH), slice(REACH, -REACH))  # borders are continued otherwise there
            assert found[i, channel][inside] == pytest.approx(whole[inside], abs=1e-4)
            assert found[i, channel][inside].mean() == pytest.approx(expected, abs=1e-4)
    assert found[2] == pytest.approx(1.0, abs=1e-4)


def test_descending_lowers_the_energy_of_every_image(fitted):
    graph = fitted["gamma_vae_g"]
    assert isinstance(graph, GammaVaeGraph)
    images = as_images(torch.from_numpy(crossed(4)))
    projected = graph.project(images)
    before, after = graph.energy(images, images)[0], graph.energy(projected, images)[0]
    assert (after < before).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    changed = (projected - images).abs().mean(dim=1)
    assert changed[:, 8:24].mean() > 2 * changed[:, :4].mean()  # where the bar across is


def test_a_step_that_would_raise_the_energy_is_not_taken(fitted, monkeypatch):
    monkeypatch.setattr("cavga.benchmark.baselines.gamma_vae_g.STEP", 1e6)
    graph = fitted["gamma_vae_g"]
    images = as_images(torch.from_numpy(bars(4, seed=1)))
    before, after = graph.energy(images, images)[0], graph.energy(graph.project(images), images)[0]
    assert (after <= before).all()


def test_an_exact_reconstruction_of_grey_pixels_costs_nothing():
    images = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert bernoulli_map(images.logit(), images).abs().max() < 1e-6
    assert bernoulli_map(images.flip(1).logit(), images).min() > 0.1


def test_the_networks_are_those_of_d_u():
    vae = make_autoencoder(config(), units=7, is_variational=True)
    latent = vae.encode(torch.rand(2, 3, 32, 32))
    assert latent.mu.shape == latent.logvar.shape == (2, 7, 1, 1)
    assert vae.decoder(latent.mu).shape == (2, 3, 32, 32)
    assert type(vae.encoder).__name__ == "DcganEncoder"
    assert make_autoencoder(config(), units=7, is_variational=False).logvar_head is None
