import pytest
import torch
from torchvision.models import resnet18

from cavga.model.encoder import IMAGENET_DEVIATION, IMAGENET_MEAN, DcganEncoder, ResNet18Encoder

ENCODERS = [ResNet18Encoder, DcganEncoder]


@pytest.mark.parametrize("encoder_type", ENCODERS)
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_stages_have_the_declared_channels_and_strides(encoder_type, size):
    encoder = encoder_type(depth=4, frozen=True).eval()
    stages = encoder(torch.rand(2, 3, *size))
    assert list(stages) == list(encoder.stage_channels) == list(encoder.stage_strides)
    for stage, features in stages.items():
        stride = encoder.stage_strides[stage]
        assert features.shape == (2, encoder.stage_channels[stage], size[0] // stride, size[1] // stride)


@pytest.mark.parametrize("encoder_type", ENCODERS)
def test_depth_leaves_out_later_stages(encoder_type):
    assert max(encoder_type(depth=2, frozen=True).eval()(torch.rand(1, 3, 32, 32))) == 2


def test_r_is_torchvisions_resnet_18():
    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    encoder = ResNet18Encoder(depth=4, frozen=True).eval()
    assert set(encoder.state_dict()) <= set(network.state_dict())
    encoder.load_state_dict({key: network.state_dict()[key] for key in encoder.state_dict()})
    images = torch.rand(1, 3, 64, 64)
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_DEVIATION)
    normalised = (images - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    features = network.maxpool(network.relu(network.bn1(network.conv1(normalised))))
    features = network.layer4(network.layer3(network.layer2(network.layer1(features))))
    assert torch.allclose(encoder(images)[4], features, atol=1e-6)


@pytest.mark.parametrize("encoder_type", ENCODERS)
def test_a_frozen_encoder_has_nothing_to_train(encoder_type):
    assert not any(parameter.requires_grad for parameter in encoder_type(depth=4, frozen=True).parameters())
    assert all(parameter.requires_grad for parameter in encoder_type(depth=4, frozen=False).parameters())
