import json
import logging

import numpy as np
import pytest
import torch

from cavga.data.dataset import augment, epoch_order, image_batch, resize
from cavga.errors import ResumeError
from cavga.model.variants import build
from cavga.training import collapse_warnings, make_players, train, training_step

from .conftest import small_config


def images(count=7, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def players_of(config):
    torch.manual_seed(config.training.seed)
    model = build(config.model, image_size=config.data.image_size)
    return make_players(model, config, torch.device("cpu"))


def weights_of(players):
    return {key: value.clone() for key, value in players.model.state_dict().items()}


@pytest.mark.parametrize("preset", ["recommended", "paper"])
@pytest.mark.parametrize("variant", ["r-u", "d-u"])
def test_a_step_moves_both_players(preset, variant):
    config = small_config(preset, variant)
    players = players_of(config)
    players.model.train()
    before = weights_of(players)
    critic = {key: value.clone() for key, value in players.discriminator.state_dict().items()}
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    losses = training_step(players, batch, config.loss, torch.Generator().manual_seed(0))
    assert any(not torch.equal(before[key], value) for key, value in players.model.state_dict().items())
    assert any(not torch.equal(critic[key], value) for key, value in players.discriminator.state_dict().items())
    weights = config.loss
    vae = losses.reconstruction + weights.kl_weight * losses.kl
    expected = vae + weights.adversarial_weight * losses.generator + 0.01 * losses.attention_expansion
    assert torch.allclose(losses.total, expected, atol=1e-5)


def test_the_generators_step_does_not_train_the_discriminator():
    config = small_config("paper")
    players = players_of(config)
    players.discriminator_optimizer.param_groups[0]["lr"] = 0.0
    before = [parameter.clone() for parameter in players.discriminator.parameters()]
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    training_step(players, batch, config.loss, torch.Generator().manual_seed(0))
    for parameter, old in zip(players.discriminator.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_the_attention_loss_reaches_the_weights():
    config = small_config("paper")
    with_loss, without = players_of(config), players_of(config)
    batch = image_batch(images(), np.arange(4), torch.device("cpu"))
    for players, weight in ((with_loss, 1.0), (without, 0.0)):
        from dataclasses import replace

        loss = replace(config.loss, attention_weight=weight, adversarial_weight=0.0, vae_weight=0.0)
        training_step(players, batch, loss, torch.Generator().manual_seed(0))
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
    train(players_of(config), images(1), config, folder=tmp_path, fingerprint="x")
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


def test_resize_is_exact_where_nothing_changes_and_rounds_to_grey_levels():
    photographs = torch.from_numpy(images())
    assert torch.equal(resize(photographs, (32, 32)) * 255, photographs.permute(0, 3, 1, 2).float())
    small = resize(photographs, (20, 20)) * 255
    assert torch.allclose(small, small.round(), atol=1e-4)


def test_same_seed_same_weights_and_another_seed_others(tmp_path):
    def trained(seed, name):
        config = small_config(seed=seed)
        players = players_of(config)
        train(players, images(), config, folder=tmp_path / name, fingerprint="x")
        return weights_of(players)

    first, again, other = trained(0, "a"), trained(0, "b"), trained(1, "c")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_resume_ends_with_the_same_bits(tmp_path):
    whole, config = small_config(epochs=4), small_config(epochs=2)
    straight = players_of(whole)
    train(straight, images(), whole, folder=tmp_path / "straight", fingerprint="x")
    train(players_of(config), images(), config, folder=tmp_path / "parts", fingerprint="x")
    resumed = players_of(whole)
    train(resumed, images(), whole, folder=tmp_path / "parts", fingerprint="x", resume=True)
    assert all(torch.equal(value, resumed.model.state_dict()[key]) for key, value in weights_of(straight).items())
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("straight", "parts")]
    without_time = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in log] for log in logs]
    assert without_time[0] == without_time[1]


def test_resume_is_refused_when_something_changed(tmp_path):
    config = small_config()
    train(players_of(config), images(), config, folder=tmp_path, fingerprint="x")
    with pytest.raises(ResumeError, match="other images or settings"):
        train(players_of(config), images(), config, folder=tmp_path, fingerprint="y", resume=True)


def test_the_log_has_every_term_and_the_latents_health(tmp_path):
    config = small_config("paper", epochs=1)
    train(players_of(config), images(), config, folder=tmp_path, fingerprint="x")
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
    players = players_of(config)
    torch.nn.init.constant_(players.model.mu_head.bias, 0.0)
    for projection in players.model.mu_head.projections:
        torch.nn.init.zeros_(projection.weight)
    with caplog.at_level(logging.WARNING, logger="cavga"):
        train(players, images(2), small_config("paper", epochs=1), folder=tmp_path, fingerprint="x")
    assert "latent has collapsed" in caplog.text
