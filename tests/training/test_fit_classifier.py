from dataclasses import replace

import numpy as np
import pytest
import torch

from cavga.attention import grad_cam
from cavga.data.dataset import TrainingImages, image_batch
from cavga.inference.graph import enlarged, graph_of, map_score
from cavga.model.build import build
from cavga.model.classifiers import LOG_FLOOR, EnergyClassifier
from cavga.training.fit import fit_whitened
from cavga.training.fit_classifier import _minimise
from tests.conftest import small_config, texture

CPU = torch.device("cpu")


def images(num_normal=24, num_anomalous=4):
    """Smooth textures; the anomalous ones have a fine faint pattern, which is energy in some channels."""
    pixels = np.stack([texture(i, size=32) for i in range(num_normal + num_anomalous)]).astype(np.int64)
    pixels[num_normal:, ::2] += 6
    return TrainingImages(np.repeat(pixels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3), num_normal)


def fitted(data, **loss):
    config = small_config("recommended", "r-w")
    # All directions: what tells these images apart varies little.
    config = replace(config, loss=replace(config.loss, **loss), model=replace(config.model, latent_channels=128))
    torch.manual_seed(0)
    model = build(config.model, image_size=(32, 32))
    fit_whitened(model, data, config, device=CPU)
    return graph_of(model, config)


def energies_of(graph, pixels):
    with torch.no_grad():
        return graph.model.energies(graph.model.encode(image_batch(pixels, np.arange(len(pixels)), CPU)).mu)


def test_features_by_hand():
    # Two channels, 64 patches, all 1 but two patches of 3 and 5 in channel 0: those are the top thirty-second.
    z = torch.ones(1, 2, 8, 8)
    z[0, 0, 0, 0], z[0, 0, 4, 2] = 3.0, -5.0
    classifier = EnergyClassifier(latent_channels=2)
    means = classifier.features(z.square())[0].exp() - LOG_FLOOR
    assert means.tolist() == pytest.approx([(62 + 9 + 25) / 64, 1.0, (9 + 25) / 2, 1.0], rel=1e-5)


def random_classifier(channels=3):
    torch.manual_seed(0)
    classifier = EnergyClassifier(latent_channels=channels)
    for name in ("weight", "centre", "bias"):
        getattr(classifier, name).normal_()
    return classifier


def test_the_logits_are_opposite_and_linear_in_the_logarithms():
    classifier, squares = random_classifier(), torch.randn(4, 3, 8, 8).square()
    logits = classifier(squares)
    q = (classifier.features(squares) - classifier.centre) @ classifier.weight + classifier.bias
    assert torch.allclose(logits[:, 1] - logits[:, 0], q, atol=1e-5)
    assert torch.allclose(logits.sum(dim=1), torch.zeros(4), atol=1e-6)


def test_the_map_is_grad_cam_of_the_anomalous_logit_where_its_gradient_is_taken():
    classifier = random_classifier()
    classifier.weight[3:] = 0  # over all patches alone: which patches are the top ones has no gradient
    z = torch.randn(1, 3, 8, 8, requires_grad=True)
    classifier.reference.copy_(classifier.features(z.square())[0].detach().exp() - LOG_FLOOR)
    expected = grad_cam(classifier(z.square())[:, 1].sum(), z, weighting="elementwise")
    assert torch.allclose(classifier.cam(z.square()) / 64, expected, atol=1e-5)


def test_fitting_tells_labelled_bad_images_from_normal_ones_it_has_not_seen():
    data = images(num_normal=40, num_anomalous=8)
    seen = TrainingImages(np.concatenate([data.images[:24], data.images[40:44]]), num_normal=24)
    graph = fitted(seen)
    unseen = np.concatenate([data.images[24:40], data.images[44:]])
    with torch.inference_mode():
        scores = graph.score_images(image_batch(unseen, np.arange(len(unseen)), CPU)).score
        predicted = graph.model.classifier(energies_of(graph, unseen)).argmax(dim=1)
    assert scores[16:].min() > scores[:16].max()
    assert predicted[16:].all()


def test_both_scores_and_both_maps_count_in_deviations_of_normal_images():
    data = images()
    graph = fitted(data)
    squares, classifier = energies_of(graph, data.normal), graph.model.classifier
    with torch.inference_mode():
        scores = graph.score_images(image_batch(data.normal, np.arange(24), CPU)).score
    assert scores.mean().item() == pytest.approx(0.0, abs=1e-3)
    energy, own = squares.mean(dim=1), classifier.cam(squares)
    for values, scale in ((energy, classifier.cell_scale[0]), (own, classifier.cell_scale[1])):
        assert values.mean().item() == pytest.approx(scale[0].item(), rel=1e-3)
        assert values.std(correction=0).item() == pytest.approx(scale[1].item(), rel=1e-3)


def test_guided_attention_clears_normal_images_of_anomalous_attention():
    data = images()
    means = []
    for weight in (0.0, 100.0):
        graph = fitted(data, guided_attention_weight=weight)
        squares = energies_of(graph, data.normal)
        means.append(graph.model.classifier.anomalous_attention(squares.mean(dim=1), squares).mean().item())
    assert means[1] < means[0]


def test_the_same_images_give_the_same_bits():
    data = images()
    first, again = (fitted(data).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_one_labelled_bad_image_is_enough_to_fit():
    graph = fitted(images(num_normal=3, num_anomalous=1))
    assert all(torch.isfinite(value).all() for key, value in graph.state_dict().items() if "classifier" in key)


def test_a_classifier_that_learns_nothing_is_left_out_of_the_score_and_said(caplog):
    data = images()
    graph = fitted(data, classification_weight=0.0)
    assert "tells nothing apart" in caplog.text
    with torch.inference_mode():
        batch = image_batch(data.images, np.arange(len(data)), CPU)
        joint = graph.score_images(batch).score
        energy = map_score(enlarged(energies_of(graph, data.images).mean(dim=1), (32, 32)))
    mean, std = graph.model.classifier.image_scale[0]
    assert torch.allclose(joint, (energy - mean) / std, atol=1e-4)


def test_the_map_of_bad_images_exceeds_that_of_normal_ones_by_what_q_changes_on_average():
    data = images()
    classifier = fitted(data).model.classifier
    graph = fitted(data)
    normal, bad = (classifier.features(energies_of(graph, part)) for part in (data.normal, data.anomalous))
    means = [part.exp().mean(dim=0) for part in (normal, bad)]
    slopes = classifier.weight / (classifier.reference + LOG_FLOOR)
    expected = classifier.weight @ (means[1].log() - means[0].log())
    assert (slopes @ (means[1] - means[0])).item() == pytest.approx(expected.item(), rel=1e-3)


def test_a_channel_that_is_constant_on_normal_images_says_nothing():
    torch.manual_seed(0)
    classifier = EnergyClassifier(latent_channels=2)
    normal = torch.randn(20, 4)
    normal[:, 1] = -6.9 + 1e-6 * torch.randn(20)  # what float32 leaves of nothing
    classifier.centre.copy_(normal.mean(dim=0))
    unused = (torch.zeros(0, 1, 1), torch.zeros(0, 2, 1, 1))
    _minimise(classifier, normal, normal[:3] + 9, unused, (1.0, 0.0), (1.0, 1.0))
    assert (classifier.weight != 0).tolist() == [True, False, True, True]
