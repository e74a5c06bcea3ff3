from dataclasses import replace

import numpy as np
import pytest
import torch

from cavga.attention import latent_sum_cam
from cavga.losses import attention_expansion_loss
from cavga.training.loop import one_cycle
from studies.readings import choice, measured, readings, sets, training
from studies.readings.attention import cam_of, features_of, forward, to_unit
from studies.readings.readings import BASE, LOSSES, attention_readings

SINGLES = attention_readings(BASE)


def made_set(side=32):
    """Grey stripes, and a bright square on those that are bad."""
    rng = np.random.default_rng(0)
    stripes = np.where(np.arange(side) // 4 % 2, 40, 210)[None, None, :, None] + rng.integers(-9, 9, (24, 1, 1, 1))
    good = np.broadcast_to(stripes, (24, side, side, 3)).astype(np.uint8)
    bad, mask = good[:8].copy(), np.zeros((8, side, side), dtype=np.bool_)
    bad[:, 8:16, 8:16], mask[:, 8:16, 8:16] = 255, True
    test, labels = np.concatenate([good[16:], bad]), np.repeat([0, 1], 8)
    return sets.ImageSet(
        "stripes", good[:16], good[16:], bad, mask, test, labels, np.concatenate([~mask & False, mask])
    )


@pytest.fixture
def small(monkeypatch):
    for name, value in {"LATENT_CHANNELS": 4, "DECODER_WIDTH": 4, "BATCH_SIZE": 4}.items():
        monkeypatch.setattr(training, name, value)


def started(reading):
    return training.start(reading, made_set(), "none", seed=0)


def test_names_are_unique_and_what_the_text_contradicts_is_not_allowed():
    found = [*LOSSES, *SINGLES]
    assert len({reading.name for reading in found}) == len(found)
    for reading in LOSSES:
        says_its_weights = (reading.adversarial_weight, reading.attention_weight) == (1.0, 0.01)
        assert reading.is_allowed == says_its_weights
    for reading in attention_readings(LOSSES[0]):
        assert reading.is_allowed


def test_the_bases_map_is_its_closed_form(small):
    trained = started(BASE)
    images = torch.rand(2, 3, 32, 32)
    found = forward(trained.model, images, None)
    closed = latent_sum_cam(found.mu, trained.model.mu_head.bias)
    assert torch.allclose(cam_of(BASE, found, images, trained.depth), closed, atol=1e-5)


def test_at_z_the_energys_map_is_its_closed_form(small):
    reading = replace(BASE, layer="z", scalar="energy")
    trained, images = started(reading), torch.rand(2, 3, 32, 32)
    found = forward(trained.model, images, torch.Generator().manual_seed(0))
    means = found.z.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(cam_of(reading, found, images, trained.depth), -(means * found.z).sum(dim=1), atol=1e-5)


@pytest.mark.parametrize("reading", [BASE, *SINGLES], ids=lambda reading: reading.name)
def test_the_gradient_of_every_reading_is_that_of_finite_differences(small, reading):
    """Of L_ae, in the direction of a random change of all weights, in double precision."""
    trained = started(reading)
    trained.model.double().eval()
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    parameters = [parameter for parameter in trained.model.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(0)
    direction = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().norm() / p.numel() ** 0.5
        for p in parameters
    ]

    def loss(step):
        with torch.no_grad():
            for parameter, change in zip(parameters, direction, strict=True):
                parameter.add_(change, alpha=step)
        found = forward(trained.model, images, None)
        return attention_expansion_loss(trained.attention(found, images))

    step = 1e-7
    gradients = torch.autograd.grad(loss(0.0), parameters, allow_unused=True)
    pairs = zip(gradients, direction, strict=True)
    along = sum(float((g * d).sum()) for g, d in pairs if g is not None)
    differences = float(loss(step).detach() - loss(-2 * step).detach()) / (2 * step)
    assert along == pytest.approx(differences, rel=2e-3, abs=1e-7)
    assert along != 0


@pytest.mark.parametrize("unit", ["sigmoid", "channel mean", "min-max", "ReLU, max", "temperature"])
def test_every_way_ends_between_0_and_1(unit):
    cam = torch.tensor([[[-300.0, 2.0], [5.0, 0.0]], [[-1.0, -1.0], [-1.0, -1.0]]])
    attention = to_unit(replace(BASE, to_unit=unit), cam, channels=4, temperature=3.0)
    assert attention.min() >= 0
    assert attention.max() <= 1
    assert torch.isfinite(attention).all()


@pytest.mark.parametrize("reading", [LOSSES[0], *LOSSES[4:8], SINGLES[-1]], ids=lambda reading: reading.name)
def test_a_reading_trains_and_is_watched_on_the_way(small, reading):
    data, trained = made_set(), started(reading)
    watch = measured.Watch([trained], data)
    training.train(trained, data, training.Budget(steps=4, rate=1e-3, looks=3), 0, watch)
    (points,), (found,) = watch.points, measured.figures([trained], data)
    assert [point["step"] for point in points] == [0, 2, 4]
    assert points[0]["normal"] != points[-1]["normal"]
    assert found["test"]["pixel 1 - A"] == pytest.approx(1 - found["test"]["pixel A"])
    assert found["L_R_exact"] < found["L_R_grey"]


def test_weights_and_rates_follow_the_steps():
    late = replace(BASE, adversarial_weight=1.0, adversarial_start=0.5)
    assert [training.adversarial_at(late, share) for share in (0.0, 0.5, 0.75, 1.0)] == [0.0, 0.0, 0.5, 1.0]
    assert training.adversarial_at(BASE, 0.0) == 0.01
    rates = {name: replace(BASE, schedule=name) for name in ("constant", "decay", "one cycle")}
    found = {name: [training.rate_at(reading, share) for share in (0.0, 0.5, 0.99)] for name, reading in rates.items()}
    assert found["constant"] == [1.0, 1.0, 1.0]
    assert found["decay"] == pytest.approx([1.0, 0.01, 1e-4])
    assert found["one cycle"] == [one_cycle(share) for share in (0.0, 0.5, 0.99)]


def test_sums_are_means_with_the_weights_of_images_divided_by_the_pixels(small):
    reading = readings.LOSSES[4]
    assert reading.losses == "sums"
    trained, images = started(reading), torch.rand(2, 3, 32, 32)
    found, fake = forward(trained.model, images, None), torch.tensor([0.3, -0.2])
    each = torch.nn.functional.binary_cross_entropy_with_logits(found.logits, images, reduction="none")
    kl = 0.5 * (found.mu.square() + found.logvar.exp() - 1 - found.logvar)
    game = torch.nn.functional.softplus(-fake).mean()
    expansion = (1 - trained.attention(found, images)).mean()
    sums = (each.sum() + kl.sum()) / len(images) + game + 0.01 * expansion
    total = training.objective(trained, found, images, fake, share=0.0).detach()
    assert float(total * images[0].numel()) == pytest.approx(float(sums.detach()), rel=1e-5)


def test_patches_count_as_anomalous_from_a_tenth_of_their_pixels():
    masks = np.zeros((1, 8, 8), dtype=np.bool_)
    masks[0, 0, 0] = masks[0, 4, 4] = masks[0, 5, 5] = True  # 1 and 2 of 16 pixels
    assert measured.anomalous_patches(masks, (2, 2)).tolist() == [[[False, False], [False, True]]]


def row(reading, made, level, *, is_trained=True):
    levels = {"L_R": level, "L_R_grey": 1.0, "L_R_exact": 0.0}
    return {"reading": reading.name, "made": {"pixel 1 - A": made}, "is_trained": is_trained, **levels}


def test_the_choice_takes_allowed_and_trained_readings_by_made_anomalies():
    stood, base, _, with_game, sums, *_ = LOSSES
    rows = [row(base, 0.9, 0.1), row(stood, 0.5, 2.0), row(with_game, 0.5, 0.4), row(sums, 0.5, 0.3)]
    assert choice.trained_best(rows) == sums
    singles = attention_readings(sums)
    rows += [row(one, 0.5 + i / 100, 0.3, is_trained=i != len(singles) - 1) for i, one in enumerate(singles)]
    assert choice.best_allowed(rows, [*LOSSES, *singles]) == singles[-2]  # the last one did not pass the gate
    assert choice.for_preset(rows, [*LOSSES, *singles]) == singles[8]  # the last one is a temperature
    assert choice.for_preset(rows, [*LOSSES, *singles[:6]]) == singles[4]  # -L_R needs a backward pass


def test_digits_are_read_with_a_border(tmp_path):
    rng, num = np.random.default_rng(0), 1400
    images = rng.integers(0, 255, (num, 28, 28), dtype=np.uint8)
    labels = np.where(np.arange(num) < 1200, 8, 1)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = sets.load_set(tmp_path, sets.DIGIT, 64)
    assert data.fitted.shape == (1000, 32, 32, 3)
    assert (data.fitted[:, :2] == 0).all()
    assert (len(data.held), int((data.labels == 0).sum())) == (80, 200)
    assert data.test_masks is None
    assert (
        features_of(
            BASE, forward(training.start(BASE, data, "none", 0).model, torch.rand(2, 3, 32, 32), None), 4
        ).shape[1]
        == 512
    )
