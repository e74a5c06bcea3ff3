import pytest
import torch
from torch import nn

from cavga.attention import grad_cam
from cavga.config.presets import make_config
from cavga.model.build import build
from cavga.model.classifiers import Classifier
from cavga.model.decoder import ResidualBlock


def model_of(variant="r-w", **model):
    torch.manual_seed(0)
    settings = {"variant": variant, "weights": "none", "latent_channels": 6, "decoder_width": 8, **model}
    return build(make_config("paper", {"model": settings}).model, image_size=(64, 96)).eval()


def images():
    torch.manual_seed(1)
    return torch.rand(2, 3, 64, 96)


def test_the_classifier_is_linear_on_flattened_z():
    classifier = Classifier(latent_channels=3, map_size=(2, 4), class_score="logit")
    z = torch.randn(5, 3, 2, 4)
    logits = classifier(z)
    assert logits.shape == (5, 2)
    expected = torch.einsum("ckij,bkij->bc", classifier.weight_maps, z) + classifier.linear.bias
    assert torch.allclose(logits, expected, atol=1e-6)


def test_flattened_z_of_table_8_has_100_units_and_a_map_at_the_last_features():
    model = model_of(latent_shape="vector", latent_channels=100, stages=(3,))
    with torch.no_grad():
        output = model(images())
    assert output.latent.mu.shape == output.z.shape == (2, 100, 1, 1)
    assert output.latent.features.shape == (2, 256, 4, 6)
    assert output.reconstruction_logits.shape == (2, 3, 64, 96)
    assert model.classifier.linear.weight.shape == (2, 100)
    assert model.anomaly_map(output.latent).shape == (2, 4, 6)


@pytest.mark.parametrize("variant", ["r-w", "d-w"])
@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("shape", ["map", "vector"])
def test_class_attention_of_the_whole_model_is_grad_cam(variant, shape, score):
    model = model_of(variant, latent_shape=shape, class_score=score)
    latent = model.encode(images())
    at = latent.mu if shape == "map" else latent.features
    logits = model.classifier(latent.mu)
    scores = logits if score == "logit" else logits.softmax(dim=1)
    expected = torch.stack([grad_cam(scores[:, c].sum(), at) for c in (0, 1)], dim=1).sigmoid()
    found = model.class_attention(latent, latent.mu)
    assert torch.allclose(found, expected, atol=1e-6)
    # Paper: A^ca is the map, as it is; A^cn is the attention that should cover what is normal.
    assert torch.equal(model.anomaly_map(latent), found[:, 1])
    assert torch.equal(model.attention(latent), found[:, 0])


@pytest.mark.parametrize(("scale", "divisor"), [("sum", 1), ("mean", 512)])
def test_attention_of_flattened_z_without_labels_is_grad_cam_of_its_sum(scale, divisor):
    model = model_of("r-u", latent_shape="vector", attention_scale=scale)
    latent = model.encode(images())
    expected = (grad_cam(latent.mu.sum(), latent.features) / divisor).sigmoid()
    assert torch.allclose(model.attention(latent), expected, atol=1e-6)
    assert torch.allclose(model.anomaly_map(latent), 1 - expected, atol=1e-6)


@pytest.mark.parametrize(
    ("variant", "scale", "divisor"), [("r-u", "sum", 1), ("r-u", "mean", 512), ("d-u", "mean", 512)]
)
def test_attention_without_labels_is_grad_cam_of_the_sum_of_mu(variant, scale, divisor):
    model = model_of(variant, attention_scale=scale)
    stages = model.encode_stages(images())
    mu = model.mu_head(stages)
    expected = (grad_cam(mu.sum(), stages[0]) / divisor).sigmoid()
    assert torch.allclose(model.attention(model.encode(images())), expected, atol=1e-6)


def test_probability_maps_are_opposite_and_logit_maps_are_not():
    for score, is_opposite in (("probability", True), ("logit", False)):
        model = model_of(class_score=score)
        latent = model.encode(images())
        maps = model.class_attention(latent, latent.mu)
        assert torch.allclose(maps[:, 0], 1 - maps[:, 1], atol=1e-6) == is_opposite


def test_u_variants_have_no_class_attention():
    model = model_of("r-u")
    latent = model.encode(images())
    with pytest.raises(ValueError, match="only the s and w variants"):
        model.class_attention(latent, latent.mu)


def test_the_skip_adds_what_was_upsampled():
    torch.manual_seed(0)
    block = ResidualBlock(4, 3, skip=True).eval()
    features = torch.randn(1, 4, 2, 2)
    with torch.no_grad():
        with_skip = block(features)
        block.skip = False
        assert torch.allclose(with_skip - block(features), block.upsample(features))


def test_the_skip_is_the_residual_decoders():
    decoders = [model_of(decoder_skip=skip).decoder for skip in (True, False)]
    blocks = [[m for m in decoder.modules() if isinstance(m, ResidualBlock)] for decoder in decoders]
    assert [{block.skip for block in found} for found in blocks] == [{True}, {False}]
    assert isinstance(decoders[0], nn.Module)
