import math

import pytest
import torch
from torch import nn

from cavga import losses
from cavga.attention import attention_of


def test_reconstruction_loss_by_hand():
    # One pixel, x_hat = 0.8 in each channel: x = 1 gives -log 0.8, x = 0 gives -log 0.2.
    logits = torch.full((1, 3, 1, 1), math.log(0.8 / 0.2))
    images = torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    expected = (2 * -math.log(0.8) - math.log(0.2)) / 3
    assert losses.reconstruction_loss(logits, images).item() == pytest.approx(expected, rel=1e-6)


def test_kl_by_hand():
    # mu = 2, logvar = 0: (4 + 1 - 1 - 0) / 2 = 2. mu = 0, var = e: (e - 2) / 2. The mean of both.
    mu = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
    logvar = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    assert losses.kl_divergence(mu, logvar).item() == pytest.approx((2 + (math.e - 2) / 2) / 2, rel=1e-6)


def test_kl_is_torchs():
    mu, logvar = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    q = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    reference = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean()
    assert torch.allclose(losses.kl_divergence(mu, logvar), reference, atol=1e-6)


def test_vae_loss_is_the_sum_of_eq_1():
    assert losses.vae_loss(torch.tensor(2.0), torch.tensor(3.0)).item() == 5.0
    assert losses.vae_loss(torch.tensor(2.0), torch.tensor(3.0), kl_weight=0.1).item() == pytest.approx(2.3)


def test_losses_are_means_so_size_and_batch_do_not_matter():
    logits, images = torch.zeros(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    single = losses.reconstruction_loss(logits, images)
    assert torch.allclose(losses.reconstruction_loss(logits.repeat(5, 1, 2, 2), images.repeat(5, 1, 2, 2)), single)


def test_adversarial_losses_by_hand():
    # D(x) = 0.9 and D(x_hat) = 0.3: Eq. 2 is -log 0.9 - log 0.7; G minimises -log 0.3.
    real, fake = torch.logit(torch.tensor([0.9])), torch.logit(torch.tensor([0.3]))
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(-math.log(0.9) - math.log(0.7), rel=1e-6)
    assert losses.generator_loss(fake).item() == pytest.approx(-math.log(0.3), rel=1e-6)


def test_the_players_pull_in_opposite_directions():
    fake = torch.zeros(4, requires_grad=True)
    (for_critic,) = torch.autograd.grad(losses.discriminator_loss(torch.zeros(4), fake), fake)
    (for_generator,) = torch.autograd.grad(losses.generator_loss(fake), fake)
    assert (for_critic * for_generator < 0).all()


def test_attention_expansion_by_hand():
    attention = torch.tensor([[[1.0, 0.5], [0.0, 0.5]]])
    assert losses.attention_expansion_loss(attention).item() == pytest.approx(0.5)
    assert losses.attention_expansion_loss(torch.ones(3, 2, 2)).item() == 0.0


def test_attention_expansion_of_a_batch_is_the_mean_of_its_images():
    attention = torch.rand(4, 3, 5)
    each = torch.stack([losses.attention_expansion_loss(one[None]) for one in attention])
    assert torch.allclose(losses.attention_expansion_loss(attention), each.mean())


def test_objective_has_the_papers_weights():
    one, two, three = torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)
    total = losses.unsupervised_objective(vae=one, generator=two, attention=three)
    assert total.item() == pytest.approx(1 * 1 + 1 * 2 + 0.01 * 3)


def test_classification_loss_by_hand():
    # p(anomalous) is 0.8, then 0.3; the labels are anomalous and normal: -log 0.8 and -log 0.7.
    logits = torch.log(torch.tensor([[0.2, 0.8], [0.7, 0.3]]))
    labels = torch.tensor([1, 0])
    plain = losses.classification_loss(logits, labels, class_weights=(1.0, 1.0))
    assert plain.item() == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2, rel=1e-6)
    weighted = losses.classification_loss(logits, labels, class_weights=(0.5, 4.0))
    assert weighted.item() == pytest.approx(-(4 * math.log(0.8) + 0.5 * math.log(0.7)) / 2, rel=1e-6)


def test_classification_loss_is_binary_cross_entropy_of_the_difference():
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    difference = logits[:, 1] - logits[:, 0]
    reference = nn.functional.binary_cross_entropy_with_logits(difference, labels.float())
    assert torch.allclose(losses.classification_loss(logits, labels, class_weights=(1.0, 1.0)), reference, atol=1e-6)


# Four images: normal called normal, normal predicted anomalous, anomalous predicted anomalous, anomalous called normal.
CALLED = torch.tensor([[2.0, 1.0], [1.0, 2.0], [0.0, 3.0], [1.0, 0.0]])
LABELS = torch.tensor([0, 0, 1, 1])


def test_guided_attention_by_hand():
    normal, anomalous = torch.full((4, 1, 2), 0.9), torch.full((4, 1, 2), 0.9)
    normal[0, 0], anomalous[0, 0] = torch.tensor([0.8, 0.4]), torch.tensor([0.1, 0.3])
    # Only the first counts: its mean of 1 - A^cn + A^ca is (0.3 + 0.9) / 2 = 0.6, divided by 4 images, not by 1.
    loss = losses.complementary_guided_attention_loss(normal, anomalous, CALLED, LABELS)
    assert loss.item() == pytest.approx(0.6 / 4, rel=1e-6)


def test_guided_attention_is_zero_if_no_normal_image_is_called_normal():
    maps = torch.rand(3, 2, 2)
    assert losses.complementary_guided_attention_loss(maps, maps, CALLED[1:], LABELS[1:]).item() == 0.0


def test_guided_attention_moves_only_the_selected_image_and_both_maps_in_opposite_directions():
    normal, anomalous = torch.rand(4, 2, 3, requires_grad=True), torch.rand(4, 2, 3, requires_grad=True)
    loss = losses.complementary_guided_attention_loss(normal, anomalous, CALLED, LABELS)
    for_normal, for_anomalous = torch.autograd.grad(loss, (normal, anomalous))
    assert torch.allclose(for_normal[0], torch.full((2, 3), -1 / 24))
    assert torch.allclose(for_anomalous, -for_normal)
    assert not for_normal[1:].any()


def test_weak_objective_has_the_papers_weights():
    parts = {name: torch.tensor(value) for name, value in (("vae", 1.0), ("generator", 2.0))}
    total = losses.weakly_supervised_objective(
        **parts, classification=torch.tensor(3.0), guided_attention=torch.tensor(4.0)
    )
    assert total.item() == pytest.approx(1 * 1 + 1 * 2 + 0.001 * 3 + 0.01 * 4)


@pytest.mark.parametrize("name", ["reconstruction_loss", "kl_divergence", "discriminator_loss"])
def test_gradients(name):
    first, second = torch.randn(2, 3, 2, 2), torch.rand(2, 3, 2, 2)
    if name == "discriminator_loss":
        first, second = first[:, 0, 0, 0], second[:, 0, 0, 0]
    first, second = first.double().requires_grad_(), second.double().requires_grad_()
    assert torch.autograd.gradcheck(getattr(losses, name), (first, second))


def test_attention_expansion_gradient():
    attention = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses.attention_expansion_loss, (attention,))


class ForeignVae(nn.Module):
    """A network that has nothing of ours: flattened latent, its own layer names."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh())
        self.to_latent = nn.Linear(4 * 8 * 8, 5)

    def forward(self, images):
        return self.to_latent(self.body(images).flatten(1))


def test_attention_expansion_trains_a_foreign_network():
    torch.manual_seed(0)
    network, images = ForeignVae(), torch.rand(2, 3, 16, 16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)

    def uncovered():
        attention = attention_of(network, network.body, images, lambda mu: mu.sum())
        return losses.attention_expansion_loss(attention)

    before = uncovered().item()
    for _ in range(30):
        optimizer.zero_grad()
        uncovered().backward()
        optimizer.step()
    assert uncovered().item() < before - 0.05
