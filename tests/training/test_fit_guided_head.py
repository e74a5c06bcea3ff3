from dataclasses import replace

import numpy as np
import pytest
import torch

import cavga
from cavga.attention import grad_cam
from cavga.config.presets import make_config
from cavga.config.variant import TrainingPlan
from cavga.data.dataset import TrainingImages
from cavga.errors import UsageError
from cavga.losses import region_guided_attention_loss
from cavga.model.build import build
from cavga.model.classifiers import GuidedHead, top_mean, with_context
from cavga.training.fit import fit_whitened
from cavga.training.fit_classifier import SMALLEST_STD
from cavga.training.fit_guided_head import (
    PATCHES_DRAWN,
    Examples,
    choose_left_out,
    drawn_patches,
    guided_loss,
    synthetic_images,
    train_guided_head,
)
from cavga.training.loop import make_networks, one_cycle, training_step
from tests.conftest import small_config, texture, write_category

CPU = torch.device("cpu")
FROZEN = {"variant": "r-s", "weights": "none", "train_encoder": False}  # as with pretrained weights: C is fitted last


def test_loss_by_hand():
    logits, labels = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    first = 0.5 * np.log(2)
    second = 1 / (1 + np.exp(-2)) * np.log(1 + np.exp(2))
    assert region_guided_attention_loss(logits, labels).item() == pytest.approx(10 * (first + second) / 2, rel=1e-5)


def test_losses_of_guided_attention_by_hand():
    energy, shares = torch.tensor([[0.0, 2.0, 4.0]]), torch.tensor([[0.0, 0.0, 0.5]])
    attention = np.exp([0.0, -1.0, -2.0])
    covering = max(0.0, 0.9 - attention[:2].mean())
    shrinking = attention[2] * 0.5 * -np.log(1 - attention[2]) / 1  # fewer than one patch in all counts as one
    assert guided_loss(energy, shares).item() == pytest.approx(3 * covering + shrinking, rel=1e-5)
    assert guided_loss(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0  # all is normal, and A is 1


def test_the_attention_is_the_grad_cam_of_the_normality_score():
    head, z = GuidedHead(latent_channels=2).eval(), torch.randn(3, 2, 8, 8)
    y = head.guided(z).detach().requires_grad_()
    cam = grad_cam(-y.square().sum() / 2, y, weighting="elementwise")
    assert torch.allclose((cam / 2).exp(), head.attention(z), atol=1e-6)
    assert torch.allclose(1 - head.cam(z).sigmoid(), head.attention(z), atol=1e-5)


def test_a_cell_sees_itself_its_surroundings_and_the_whole_image():
    z = torch.zeros(1, 1, 8, 8)
    z[0, 0, 0, 0] = 64.0
    context = with_context(z)
    assert context[0, :, 0, 0].tolist() == pytest.approx([64.0, context[0, 1, 0, 0].item(), 1.0])
    assert context[0, 1, 0, 0] > context[0, 1, 7, 7] >= 0
    assert context[0, :, 7, 7].tolist()[0] == 0


def test_the_images_logit_is_the_mean_of_its_highest_patches():
    cam = torch.zeros(1, 8, 8)
    cam[0, 0, :2] = torch.tensor([4.0, 2.0])
    assert top_mean(cam).item() == 3.0  # a thirty-second of 64 patches
    classifier = GuidedHead(latent_channels=2).eval()
    z = torch.randn(3, 2, 8, 8)
    logits = classifier(z)
    assert torch.equal(logits[:, 0], -logits[:, 1])
    assert torch.allclose(logits[:, 1] * 2, top_mean(classifier.cam(z)))


def textures(count, start=0):
    return np.repeat(np.stack([texture(i, size=64) for i in range(start, start + count)])[..., None], 3, axis=3)


def fitted(images, num_normal):
    config = make_config("recommended", {"data": {"image_size": (64, 64)},
                                         "model": {**FROZEN}})  # fmt: skip
    torch.manual_seed(0)
    model = build(config.model, image_size=(64, 64))
    fit_whitened(model, TrainingImages(images, num_normal), config, device=CPU)
    return model


def squares(count, start):
    images = textures(count, start)
    images[:, 20:34, 24:38] = 235
    return images


def test_c_finds_what_it_has_not_seen_and_attends_to_the_place(monkeypatch):
    monkeypatch.setattr("cavga.training.fit_guided_head.NUM_STEPS", 400)
    model = fitted(textures(24), 24)
    with torch.no_grad():
        good, bad = (
            model.encode(torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255)
            for part in (textures(8, 700), squares(8, 700))
        )
        q = [model.classifier(latent.mu)[:, 1] for latent in (good, bad)]
        attention = model.class_attention(bad, bad.mu)
    assert q[1].min() > q[0].max()
    assert torch.allclose(attention.sum(dim=1), torch.ones(8, 8, 8))
    inside = attention[:, 1, 3:4, 3:5].mean()
    assert inside > 3 * attention[:, 1, 6:, :].mean()


def test_labelled_bad_images_join_in_without_masks(category, tmp_path, monkeypatch):
    monkeypatch.setattr("cavga.training.fit_guided_head.NUM_STEPS", 20)
    few = write_category(tmp_path / "data", num_labelled=2)
    config = make_config(
        "recommended",
        {"data": {"image_size": (32, 32)}, "model": {**FROZEN, "latent_channels": 8, "prior": "aggregated"}},
        {"training": {"epochs": 1, "device": "cpu"}},
    )
    run, alone = (cavga.train(data, tmp_path / name, config) for data, name in ((few, "run"), (category, "alone")))
    origins = [cavga.AnomalyDetector.load(path).description["provenance"] for path in (run, alone)]
    assert [origin["train_anomalous"] for origin in origins] == [2, 0]  # none is drawn from the test set


def test_the_made_images_are_a_function_of_the_seed():
    images = textures(6)
    first, again, other = (list(synthetic_images(images, seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert len(first) != len(other) or any(not np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_the_paper_has_no_self_supervised_variant():
    assert make_config("recommended", {"model": {"variant": "d-s"}}).model.supervision == "s"
    with pytest.raises(UsageError, match="r-s is not the paper's"):
        make_config("paper", {"model": {"variant": "r-s"}})


def test_without_weights_encoder_latent_and_c_are_trained_together():
    made = make_config("recommended", {"model": {"variant": "r-s", "weights": "none"}})
    model = made.model
    assert (model.latent, model.stages, model.attention, model.image_score) == ("trained", (1,), "class", "map")
    assert made.loss.adversarial_weight == 0
    assert model.plan is TrainingPlan.END_TO_END
    assert make_config("recommended", {"model": {"variant": "d-s"}}).model.stages == (2,)
    for fitted_last in ({**FROZEN}, {"variant": "r-s"}):
        config = make_config("recommended", {"model": fitted_last})
        assert config.model.latent == "whitened"
        assert config.loss.adversarial_weight == 0.01


@pytest.mark.parametrize("variant", ["r-s", "d-s"])
@pytest.mark.parametrize("adversarial_weight", [0.0, 0.01])
def test_a_step_on_made_images_is_eq_6_with_the_place_known(variant, adversarial_weight):
    config = small_config(variant=variant)
    loss = replace(config.loss, adversarial_weight=adversarial_weight)
    torch.manual_seed(0)
    networks = make_networks(build(config.model, image_size=(32, 32)), config, CPU)
    networks.model.train()
    before = {key: value.clone() for key, value in networks.model.state_dict().items()}
    critic = {key: value.clone() for key, value in networks.discriminator.state_dict().items()}
    images, regions = torch.rand(4, 3, 32, 32), torch.zeros(4, 32, 32)
    regions[:3, 8:20, 8:20] = 1
    labels = torch.tensor([1, 1, 1, 0])
    step = training_step(networks, images, labels, loss, torch.Generator().manual_seed(0), regions=regions)
    terms = step.terms
    expected = terms["reconstruction"] + 1e-3 * terms["kl"] + adversarial_weight * terms["generator"]
    expected = expected + terms["classification"] + terms["guided_attention"]
    assert torch.allclose(terms["total"], expected, atol=1e-5)
    assert step.calls.sum(dim=1).tolist() == [1, 3]
    assert len(step.coverage) == 1
    after = networks.model.state_dict()
    first = next(key for key in after if key.startswith("encoder.") and key.endswith("weight"))
    for name in (first, "classifier.readout.weight", "mu_head.bias"):
        assert not torch.equal(before[name], after[name])
    moved = any(not torch.equal(critic[key], value) for key, value in networks.discriminator.state_dict().items())
    assert moved == ("discriminator" in terms) == (adversarial_weight > 0)


def test_the_rate_rises_and_falls():
    rates = [one_cycle(share) for share in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert 0 < rates[0] < rates[1] < rates[2] == 1
    assert rates[3] == pytest.approx(0.5)
    assert rates[4] == pytest.approx(0)


def test_what_is_marked_is_what_was_put_in(tmp_path):
    data = write_category(tmp_path / "data", num_train=10)
    config = make_config(
        "recommended",
        {"data": {"image_size": (64, 64)}, "model": {"variant": "r-s", "weights": "none", "latent_channels": 16}},
        {"training": {"epochs": 3, "device": "cpu", "learning_rate": 3e-3}},
    )
    run = cavga.train(data, tmp_path / "run", config)
    metrics = cavga.evaluate(run, data).metrics
    assert metrics["pixel"]["auroc"] > 0.8
    detector = cavga.AnomalyDetector.load(run)
    normal, anomalous = detector.class_attention(squares(1, 700)[0])
    assert np.allclose(normal + anomalous, 1, atol=1e-5)
    record = detector.description["calibration"]
    assert record["num_images"] == metrics["counts"]["calibration"] == 2  # held out: no fold trains C again
    assert not list((run / "training").glob("images-*"))


def test_images_labelled_bad_are_named_as_not_used(tmp_path, caplog):
    few = write_category(tmp_path / "data", num_labelled=2)
    run = cavga.train(few, tmp_path / "run", small_config(variant="r-s", epochs=1))
    assert "2 images labelled bad are not used" in caplog.text
    assert cavga.AnomalyDetector.load(run).description["provenance"]["train_anomalous"] == 0


def test_the_left_out_are_a_fifth_by_seed_and_none_of_one():
    assert choose_left_out(20, 0).sum() == 4
    assert (choose_left_out(20, 0) == choose_left_out(20, 0)).all()
    assert (choose_left_out(20, 0) != choose_left_out(20, 1)).any()
    assert choose_left_out(1, 0).sum() == 0
    assert choose_left_out(2, 0).sum() == 1
    assert choose_left_out(5000, 0).sum() == 64


def test_half_of_what_is_drawn_is_anomalous_where_there_is_as_much():
    head, shares = GuidedHead(latent_channels=2), torch.zeros(3, 32, 32)
    shares[0], shares[1, 0, :5] = 0.7, 0.7  # all of it, five patches, none
    patches, drawn = drawn_patches(head.context(torch.rand(3, 2, 32, 32)), shares)
    assert patches.shape == (3 * PATCHES_DRAWN, 6)
    assert (drawn > 0).sum(dim=1).tolist() == [PATCHES_DRAWN, 5, 0]
    half = torch.zeros(1, 32, 32)
    half[:, :16] = 0.7
    assert (drawn_patches(head.context(torch.rand(1, 2, 32, 32)), half)[1] > 0).sum() == PATCHES_DRAWN // 2


def test_a_patch_that_is_drawn_is_read_with_its_surroundings():
    head, z = GuidedHead(latent_channels=2), torch.rand(1, 2, 4, 4)  # small: every patch is drawn again and again
    patches, _ = drawn_patches(head.context(z), torch.zeros(1, 4, 4))
    there = head.context(z)[0].flatten(1).T
    assert torch.equal(torch.unique(patches, dim=0), torch.unique(there, dim=0))


def test_labelled_bad_images_are_taught_by_their_highest_patches(monkeypatch):
    monkeypatch.setattr("cavga.training.fit_guided_head.NUM_STEPS", 60)
    torch.manual_seed(0)
    normal, bad = 0.1 * torch.randn(6, 4, 8, 8), 0.1 * torch.randn(3, 4, 8, 8)
    bad[:, 0, :2, :2] = 3.0  # what the synthetic anomalies do not show
    synthetic, labels = 0.1 * torch.randn(9, 4, 8, 8), torch.zeros(9, 8, 8)
    synthetic[:, 1, 6:, 6:], labels[:, 6:, 6:] = 3.0, 1.0
    attention = []
    for labelled in (bad[:0], bad):
        torch.manual_seed(0)
        head = GuidedHead(latent_channels=4)
        train_guided_head(head, Examples(normal, synthetic, labels, labelled))
        attention.append(head.eval().attention(bad)[:, :2, :2].mean().item())
    assert attention[1] < attention[0] - 0.2


def test_a_channel_of_z_that_never_varies_tells_c_nothing(monkeypatch):
    monkeypatch.setattr("cavga.training.fit_guided_head.NUM_STEPS", 2)
    model = fitted(np.repeat(textures(24)[:1], 24, axis=0), 24)  # one photograph: few directions of z vary
    unit = model.classifier.unit
    assert unit.isinf().any()
    assert unit[unit.isfinite()].min() >= SMALLEST_STD
