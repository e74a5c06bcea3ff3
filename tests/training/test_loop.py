import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from cavga.data.dataset import TrainingImages, augment, epoch_order, image_batch
from cavga.errors import ResumeError
from cavga.model.build import build
from cavga.training.log import collapse_warnings
from cavga.training.loop import make_networks, train, training_step
from tests.conftest import small_config


def images(count=7, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def data(count=7, num_anomalous=0):
    return TrainingImages(images(count), num_normal=count - num_anomalous)


NORMAL = torch.zeros(4, dtype=torch.int64)


def players_of(config):
    torch.manual_seed(config.training.seed)
    model = build(config.model, image_size=config.data.image_size)
    return make_networks(model, config, torch.device("cpu"))


def num_summed(losses, batch):
    """Values of an image, over which `paper` sums L_R, and units of its z, over which it sums KL."""
    return batch[0].numel(), losses.mu[0].numel()


def weights_of(networks):
    return {key: value.clone() for key, value in networks.model.state_dict().items()}


@pytest.mark.parametrize("preset", ["recommended", "paper"])
@pytest.mark.parametrize("variant", ["r-u", "d-u"])
def test_a_step_moves_both_players(preset, variant):
    config = small_config(preset, variant)
    networks = players_of(config)
    networks.model.train()
    before = weights_of(networks)
    critic = {key: value.clone() for key, value in networks.discriminator.state_dict().items()}
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    losses = training_step(networks, batch, NORMAL, config.loss, torch.Generator().manual_seed(0))
    assert any(not torch.equal(before[key], value) for key, value in networks.model.state_dict().items())
    assert any(not torch.equal(critic[key], value) for key, value in networks.discriminator.state_dict().items())
    weights = config.loss
    terms = losses.terms
    values, units = num_summed(losses, batch) if preset == "paper" else (1, 1)
    vae = values * terms["reconstruction"] + weights.kl_weight * units * terms["kl"]
    expected = vae + weights.adversarial_weight * terms["generator"] + 0.01 * terms["attention_expansion"]
    assert torch.allclose(terms["total"], expected, atol=1e-5, rtol=1e-5)


def weak_config(variant="r-w", *, shape="map", score="logit", **loss):
    config = small_config("paper", variant)
    model = replace(config.model, latent_shape=shape, class_score=score)
    return replace(config, model=model, loss=replace(config.loss, **loss))


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("shape", ["map", "vector"])
@pytest.mark.parametrize("variant", ["r-w", "d-w"])
def test_a_weak_step_is_eq_6(variant, shape, score):
    config = weak_config(variant, shape=shape, score=score)
    networks = players_of(config)
    networks.model.train()
    before = weights_of(networks)
    batch, labels = image_batch(images(), np.arange(4), torch.device("cpu")), torch.tensor([0, 0, 0, 1])
    step = training_step(networks, batch, labels, config.loss, torch.Generator().manual_seed(0))
    terms = step.terms
    values, units = num_summed(step, batch)
    vae = values * terms["reconstruction"] + units * terms["kl"]
    expected = vae + terms["generator"] + 0.001 * terms["classification"] + 0.01 * terms["guided_attention"]
    assert torch.allclose(terms["total"], expected, atol=1e-5, rtol=1e-5)
    assert "attention_expansion" not in terms
    assert step.calls.sum(dim=1).tolist() == [3, 1]
    after = networks.model.state_dict()
    assert not torch.equal(before["classifier.linear.weight"], after["classifier.linear.weight"])


def test_the_class_losses_reach_classifier_and_encoder():
    only_class = {"vae_weight": 0.0, "adversarial_weight": 0.0}
    batch, labels = image_batch(images(), np.arange(4), torch.device("cpu")), torch.tensor([0, 0, 0, 1])
    moved = {}
    for name, loss in (("bce", {"guided_attention_weight": 0.0}), ("cga", {"classification_weight": 0.0})):
        config = weak_config(**only_class, **loss)
        networks = players_of(config)
        torch.nn.init.constant_(networks.model.classifier.linear.bias, 0.0)
        networks.model.classifier.linear.bias.data[0] = 5.0  # normal images are called normal, so that L_cga acts
        before = weights_of(networks)
        training_step(networks, batch, labels, config.loss, torch.Generator().manual_seed(0))
        after = networks.model.state_dict()
        moved[name] = {key for key in before if not torch.equal(before[key], after[key])}
    for keys in moved.values():
        assert "classifier.linear.weight" in keys
        assert any(key.startswith("encoder.") for key in keys)
        assert any(key.startswith("mu_head.") for key in keys)


def test_class_weights_give_each_class_half_of_the_loss():
    weak = TrainingImages(images(10), num_normal=8)
    assert weak.class_weights("plain") == (1.0, 1.0)
    normal, anomalous = weak.class_weights("weighted")
    assert 8 * normal == pytest.approx(2 * anomalous) == pytest.approx(5.0)
    assert weak.labels.tolist() == [0] * 8 + [1] * 2
    assert (len(weak.normal), len(weak.anomalous)) == (8, 2)


def test_the_log_says_how_the_classifier_decides(tmp_path):
    config = replace(weak_config(), training=replace(weak_config().training, epochs=1))
    networks = players_of(config)
    networks.model.classifier.linear.bias.data[0] = 50.0
    train(networks, data(7, num_anomalous=2), config, folder=tmp_path, fingerprint="x")
    (line,) = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (line["recall"], line["false_alarm_rate"]) == (0.0, 0.0)


def test_the_generators_step_does_not_train_the_discriminator():
    config = small_config("paper")
    networks = players_of(config)
    networks.discriminator_optimizer.param_groups[0]["lr"] = 0.0
    before = [parameter.clone() for parameter in networks.discriminator.parameters()]
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    training_step(networks, batch, NORMAL, config.loss, torch.Generator().manual_seed(0))
    for parameter, old in zip(networks.discriminator.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_the_attention_loss_reaches_the_weights():
    config = small_config("paper")
    with_loss, without = players_of(config), players_of(config)
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    for networks, weight in ((with_loss, 1.0), (without, 0.0)):
        loss = replace(config.loss, attention_weight=weight, adversarial_weight=0.0, vae_weight=0.0)
        training_step(networks, batch, NORMAL, loss, torch.Generator().manual_seed(0))
    bias = "mu_head.projections.0.weight"
    assert not torch.equal(with_loss.model.state_dict()[bias], without.model.state_dict()[bias])


def test_order_is_a_function_of_seed_and_epoch_and_covers_all():
    first = [list(batch) for batch in epoch_order(7, batch_size=3, seed=1, epoch=2)]
    again = [list(batch) for batch in epoch_order(7, batch_size=3, seed=1, epoch=2)]
    other = [list(batch) for batch in epoch_order(7, batch_size=3, seed=1, epoch=3)]
    assert first == again != other
    assert {index for batch in first for index in batch} == set(range(7))


def test_a_batch_of_one_is_given_twice_and_trains(tmp_path):
    assert [len(batch) for batch in epoch_order(4, batch_size=3, seed=0, epoch=0)] == [3, 2]
    config = small_config("paper", batch_size=3)
    train(players_of(config), data(1), config, folder=tmp_path, fingerprint="x")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    batch = image_batch(images(), np.arange(7), torch.device("cpu"))
    whole = augment(batch, np.arange(7), seed=0, epoch=1)
    part = augment(batch[3:5], np.arange(3, 5), seed=0, epoch=1)
    assert torch.equal(whole[3:5], part)
    assert not torch.equal(whole, augment(batch, np.arange(7), seed=0, epoch=2))
    assert torch.equal(whole.flatten(2).sort(dim=2).values, batch.flatten(2).sort(dim=2).values)


def test_oblong_images_are_flipped_but_not_turned():
    batch = torch.rand(5, 3, 32, 64)
    assert augment(batch, np.arange(5), seed=0, epoch=0).shape == batch.shape


def test_same_seed_same_weights_and_another_seed_others(tmp_path):
    def trained(seed, name):
        config = small_config(seed=seed)
        networks = players_of(config)
        train(networks, data(), config, folder=tmp_path / name, fingerprint="x")
        return weights_of(networks)

    first, again, other = trained(0, "a"), trained(0, "b"), trained(1, "c")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_resume_ends_with_the_same_bits(tmp_path):
    whole, config = small_config(epochs=4), small_config(epochs=2)
    straight = players_of(whole)
    train(straight, data(), whole, folder=tmp_path / "straight", fingerprint="x")
    train(players_of(config), data(), config, folder=tmp_path / "parts", fingerprint="x")
    resumed = players_of(whole)
    train(resumed, data(), whole, folder=tmp_path / "parts", fingerprint="x", resume=True)
    assert all(torch.equal(value, resumed.model.state_dict()[key]) for key, value in weights_of(straight).items())
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("straight", "parts")]
    without_time = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in log] for log in logs]
    assert without_time[0] == without_time[1]


def test_resume_is_refused_when_something_changed(tmp_path):
    config = small_config()
    train(players_of(config), data(), config, folder=tmp_path, fingerprint="x")
    with pytest.raises(ResumeError, match="other images or settings"):
        train(players_of(config), data(), config, folder=tmp_path, fingerprint="y", resume=True)


def test_the_log_has_every_term_and_the_latents_health(tmp_path):
    config = small_config("paper", epochs=1)
    train(players_of(config), data(), config, folder=tmp_path, fingerprint="x")
    (line,) = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    terms = {"total", "reconstruction", "kl", "generator", "discriminator", "attention_expansion"}
    assert terms | {"epoch", "attention_coverage", "active_units", "kl_per_channel", "seconds"} == set(line)
    assert line["attention_coverage"] == pytest.approx(1 - line["attention_expansion"])
    assert len(line["kl_per_channel"]) == 8
    assert np.mean(line["kl_per_channel"]) == pytest.approx(line["kl"], rel=1e-4)


def test_collapse_is_reported(caplog, tmp_path):
    healthy = {"active_units": 3, "attention_coverage": 0.6}
    assert collapse_warnings(healthy) == []
    assert "latent has collapsed" in collapse_warnings({**healthy, "active_units": 0})[0]
    assert "attention has collapsed" in collapse_warnings({**healthy, "attention_coverage": 0.999})[0]
    config = small_config("paper", epochs=1)
    networks = players_of(config)
    torch.nn.init.constant_(networks.model.mu_head.bias, 0.0)
    for projection in networks.model.mu_head.projections:
        torch.nn.init.zeros_(projection.weight)
    with caplog.at_level(logging.WARNING, logger="cavga"):
        train(networks, data(2), small_config("paper", epochs=1), folder=tmp_path, fingerprint="x")
    assert "latent has collapsed" in caplog.text


def test_with_sums_l_r_outweighs_the_losses_of_whole_images():
    config = small_config("paper")
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    steps = {
        reduction: training_step(
            players_of(config),
            batch,
            NORMAL,
            replace(config.loss, reduction=reduction),
            torch.Generator().manual_seed(0),
        )
        for reduction in ("means", "sums")
    }
    means, sums = steps["means"].terms, steps["sums"].terms
    assert {name: means[name] for name in means if name not in ("total", "discriminator")} == {
        name: sums[name] for name in sums if name not in ("total", "discriminator")
    }  # the log keeps means
    rest = sums["total"] - batch[0].numel() * sums["reconstruction"] - sums["kl"] * steps["sums"].mu[0].numel()
    assert rest.item() == pytest.approx(float(sums["generator"] + 0.01 * sums["attention_expansion"]), abs=2e-3)


def test_paper_is_trained_below_what_each_images_mean_grey_costs(tmp_path):
    stripes = np.where(np.arange(32) // 8 % 2, 30, 220)[None, None, :, None]
    pixels = np.broadcast_to(stripes, (16, 32, 32, 3)).astype(np.uint8)
    config = small_config("paper", "d-u", epochs=40, batch_size=4, learning_rate=2e-3)
    networks = players_of(config)
    train(networks, TrainingImages(pixels, num_normal=16), config, folder=tmp_path, fingerprint="x")
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    grey = pixels[0].mean() / 255
    assert last["reconstruction"] < -(grey * np.log(grey) + (1 - grey) * np.log(1 - grey)) - 0.1
