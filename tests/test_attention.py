import math

import pytest
import torch
from torch import nn

from cavga import attention


def test_grad_cam_by_hand():
    # Score 2 F_0 + 3 F_1 summed over 2 positions: the gradients are 2 and 3, the map 2 F_0 + 3 F_1.
    features = torch.tensor([[[[1.0, 2.0]], [[10.0, 20.0]]]], requires_grad=True)
    score = (2 * features[:, 0] + 3 * features[:, 1]).sum()
    assert attention.grad_cam(score, features).tolist() == [[[32.0, 64.0]]]


def test_elementwise_weights_are_not_averaged():
    features = torch.tensor([[[[1.0, 3.0]]]], requires_grad=True)
    score = 0.5 * features.square().sum()  # the gradient is F itself
    assert attention.grad_cam(score, features, weighting="elementwise").tolist() == [[[1.0, 9.0]]]
    assert attention.grad_cam(score, features).tolist() == [[[2.0, 6.0]]]  # mean gradient 2


def closed_and_reference(kind):
    torch.manual_seed(0)
    head = nn.Conv2d(6, 4, 1, dtype=torch.float64)
    features = torch.randn(3, 6, 5, 7, dtype=torch.float64, requires_grad=True)
    mu = head(features)
    if kind == "latent_sum":
        closed = attention.sigmoid_attention(attention.latent_sum_cam(mu, head.bias))
        reference = attention.sigmoid_attention(attention.grad_cam(mu.sum(), features))
    else:
        variance = torch.rand(5, 7, dtype=torch.float64) + 0.5
        score = -0.5 * (mu.square() / variance).sum()  # -KL to N(0, variance), up to constants
        closed = attention.energy_attention(attention.normality_cam(mu, variance), 4)
        cam = attention.grad_cam(score, mu, weighting="elementwise")
        reference = attention.energy_attention(cam, 4)
    return head, features, closed, reference


@pytest.mark.parametrize("kind", ["latent_sum", "energy"])
def test_closed_form_equals_autograd_in_value_and_gradient(kind):
    head, features, closed, reference = closed_and_reference(kind)
    assert torch.allclose(closed, reference, atol=1e-6)
    inputs = [head.weight, features]
    pick = torch.randn(closed.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((pick * closed).sum(), inputs, retain_graph=True)
    references = torch.autograd.grad((pick * reference).sum(), inputs)
    for gradient, expected in zip(gradients, references, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-6)


def class_closed_and_reference(score, weighting, *, is_flattened):
    """A^cn and A^ca at z, or for a flattened z at the features, in closed form and by autograd."""
    torch.manual_seed(0)
    features = torch.randn(3, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    if is_flattened:
        to_latent = nn.Conv2d(6, 7, (4, 5), dtype=torch.float64)
        classifier = nn.Linear(7, 2, dtype=torch.float64)
        at, logits = features, classifier(to_latent(features).flatten(1))
        cams = attention.flattened_cams(features, to_latent.weight, classifier.weight)
        weights = [to_latent.weight, classifier.weight]
    else:
        to_latent = nn.Conv2d(6, 7, 1, dtype=torch.float64)
        classifier = nn.Linear(7 * 4 * 5, 2, dtype=torch.float64)
        at = to_latent(features)
        logits = classifier(at.flatten(1))
        cams = attention.class_cams(at, classifier.weight.view(2, 7, 4, 5), weighting=weighting)
        weights = [to_latent.weight, classifier.weight]
    scores = logits
    if score == "probability":
        cams, scores = attention.probability_cams(cams, logits), logits.softmax(dim=1)
    # An image's score depends on that image alone, so the sum over the batch has each image's gradient.
    reference = torch.stack([attention.grad_cam(scores[:, c].sum(), at, weighting=weighting) for c in (0, 1)], dim=1)
    return [*weights, features], attention.sigmoid_attention(cams[:, 1]), attention.sigmoid_attention(reference[:, 1])


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize(("weighting", "is_flattened"), [("mean", False), ("elementwise", False), ("mean", True)])
def test_class_attention_equals_autograd_in_value_and_gradient(score, weighting, is_flattened):
    inputs, closed, reference = class_closed_and_reference(score, weighting, is_flattened=is_flattened)
    assert torch.allclose(closed, reference, atol=1e-6)
    pick = torch.randn(closed.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((pick * closed).sum(), inputs, retain_graph=True)
    references = torch.autograd.grad((pick * reference).sum(), inputs)
    for gradient, expected in zip(gradients, references, strict=True):
        assert torch.allclose(gradient, expected, atol=1e-6)


def test_attention_of_a_flattened_latent_equals_autograd_in_value_and_gradient():
    torch.manual_seed(0)
    to_latent = nn.Conv2d(6, 7, (4, 5), dtype=torch.float64)
    features = torch.randn(3, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    closed = attention.flattened_cams(features, to_latent.weight, torch.ones(1, 7, dtype=torch.float64))[:, 0]
    reference = attention.grad_cam(to_latent(features).sum(), features)
    pick, inputs = torch.randn(3, 4, 5, dtype=torch.float64), [to_latent.weight, features]
    assert torch.allclose(closed, reference, atol=1e-6)
    gradients = torch.autograd.grad((pick * closed).sum(), inputs, retain_graph=True)
    references = torch.autograd.grad((pick * reference).sum(), inputs)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(gradients, references, strict=True))


def test_class_maps_by_hand():
    # Two channels at two positions. The normal class weighs channel 0 with 1 and 3 (mean 2), channel 1 with 0.
    z = torch.tensor([[[[1.0, 2.0]], [[10.0, 20.0]]]])
    weights = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]], [[[0.0, 0.0]], [[1.0, 1.0]]]])
    assert attention.class_cams(z, weights).tolist() == [[[[2.0, 4.0]], [[10.0, 20.0]]]]
    assert attention.class_cams(z, weights, weighting="elementwise").tolist() == [[[[1.0, 6.0]], [[10.0, 20.0]]]]
    # Equal logits: p (1 - p) is a quarter, times the difference of the maps.
    cams = attention.probability_cams(attention.class_cams(z, weights), torch.zeros(1, 2))
    assert cams.tolist() == [[[[-2.0, -4.0]], [[2.0, 4.0]]]]


def test_energy_attention_of_whitened_normals_is_calibrated():
    torch.manual_seed(0)
    mu = torch.randn(1, 500, 20, 20)
    cam = attention.normality_cam(mu, torch.ones(20, 20))
    assert attention.energy_attention(cam, 500).mean().item() == pytest.approx(math.exp(-0.5), abs=0.01)


@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_attention_stays_in_the_unit_interval(value):
    cam = torch.full((1, 2, 2), value)
    assert 0 <= attention.sigmoid_attention(cam).min() <= attention.sigmoid_attention(cam).max() <= 1
    below = -cam.abs()
    assert 0 <= attention.energy_attention(below, 3).min() <= attention.energy_attention(below, 3).max() <= 1


def test_attention_of_names_a_layer_that_does_not_run_once():
    layer = nn.Conv2d(3, 3, 1)
    network = nn.Sequential(layer, layer)
    with pytest.raises(ValueError, match="ran 2 times"):
        attention.attention_of(network, layer, torch.rand(1, 3, 4, 4), lambda output: output.sum())


def test_an_images_attention_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    mu = torch.randn(4, 6, 3, 3)
    bias = torch.randn(6)
    together = attention.sigmoid_attention(attention.latent_sum_cam(mu, bias))
    alone = attention.sigmoid_attention(attention.latent_sum_cam(mu[2:3], bias))
    assert torch.allclose(together[2:3], alone, atol=1e-6)
