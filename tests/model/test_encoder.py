import pytest
import torch
from torch.nn import functional
from torchvision.models import resnet18

from cavga.config.backbones import BACKBONES, IMAGENET_MEAN, IMAGENET_STD, encoder_stages
from cavga.model.dinov2 import Dinov2Encoder
from cavga.model.encoder import DcganEncoder, TorchvisionEncoder
from cavga.model.networks import whole_network
from tests.conftest import TESTED_BACKBONES

ENCODERS = [*TESTED_BACKBONES, "DC-GAN"]
SIZES = [(32, 32), (128, 128), (256, 256), (320, 320), (64, 96), (320, 128)]


def make_encoder(name, *, depth=None, frozen=True):
    if name == "DC-GAN":
        return DcganEncoder(depth=depth or 4, frozen=frozen)
    make = Dinov2Encoder if BACKBONES[name].source == "dinov2" else TorchvisionEncoder
    return make(BACKBONES[name], depth=depth or max(BACKBONES[name].stages), frozen=frozen)


def normalised(images):
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


@pytest.mark.parametrize("name", ENCODERS)
def test_stages_have_the_declared_channels_and_strides(name):
    encoder = make_encoder(name).eval()
    declared = encoder_stages("d", None) if name == "DC-GAN" else encoder_stages("r", name)
    for size in SIZES:
        with torch.no_grad():
            stages = encoder(torch.rand(1, 3, *size))
        assert list(stages) == list(encoder.stage_channels) == list(declared)
        for stage, features in stages.items():
            stride = declared[stage].stride
            assert features.shape == (1, encoder.stage_channels[stage], size[0] // stride, size[1] // stride)


@pytest.mark.parametrize("name", ENCODERS)
def test_depth_leaves_out_later_stages(name):
    shallow, deep = make_encoder(name, depth=2).eval(), make_encoder(name)
    assert max(shallow(torch.rand(1, 3, 32, 32))) == 2
    assert set(shallow.state_dict()) < set(deep.state_dict())


def test_r_is_torchvisions_resnet_18():
    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    encoder = make_encoder("resnet18").eval()
    assert set(encoder.state_dict()) <= set(network.state_dict())
    encoder.load_state_dict({key: network.state_dict()[key] for key in encoder.state_dict()})
    images = torch.rand(1, 3, 64, 64)
    features = network.maxpool(network.relu(network.bn1(network.conv1(normalised(images)))))
    features = network.layer4(network.layer3(network.layer2(network.layer1(features))))
    assert torch.allclose(encoder(images)[4], features, atol=1e-6)


@pytest.mark.parametrize(("name", "margin"), [("squeezenet1_0", 5), ("convnext_tiny", 0)])
def test_the_last_map_is_torchvisions(name, margin):
    torch.manual_seed(0)
    network, encoder = whole_network(name).eval(), make_encoder(name).eval()
    encoder.load_state_dict({key: network.state_dict()[key] for key in encoder.state_dict()})
    images = torch.rand(1, 3, 64, 96)
    expected = network.features(functional.pad(normalised(images), (margin, 0, margin, 0)))
    with torch.no_grad():
        *_, last = encoder(images).values()
    assert torch.allclose(last, expected, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in TESTED_BACKBONES if "dinov2" not in str(name)])  # sees everything
def test_a_cell_looks_at_its_own_place(name):
    # Within half a patch, as ResNet's are: there the middle of what a patch sees is its upper left corner.
    torch.manual_seed(0)
    encoder = make_encoder(name, depth=2).eval()
    images = torch.rand(1, 3, 256, 256, requires_grad=True)
    patch = encoder(images)[2][0, :, 16, 16].abs().sum()
    weight = torch.autograd.grad(patch, images)[0].square().sum(dim=(0, 1))
    places = torch.arange(256) + 0.5
    for axis in (0, 1):
        middle = (weight.sum(dim=axis) * places).sum() / weight.sum()
        assert abs(middle - 16.5 * 8) < 6


@pytest.mark.parametrize("name", ENCODERS)
def test_a_frozen_encoder_has_nothing_to_train(name):
    assert not any(parameter.requires_grad for parameter in make_encoder(name).parameters())
    assert all(parameter.requires_grad for parameter in make_encoder(name, frozen=False).parameters())


@pytest.mark.parametrize("name", ["squeezenet1_0", "convnext_tiny"])
def test_training_draws_nothing_at_random_in_the_encoder(name):
    encoder, images = make_encoder(name, frozen=False).train(), torch.rand(2, 3, 32, 32)
    before = torch.get_rng_state()
    assert torch.equal(encoder(images)[3], encoder(images)[3])
    assert torch.equal(torch.get_rng_state(), before)
