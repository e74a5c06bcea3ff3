"""Where the networks of cavga.config.backbones come from: who builds them, and whose ImageNet weights they take.

A backbone of another package is an entry there and a `NetworkSource` here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision import models
from torchvision.models import get_model_weights

from cavga.config.backbones import BACKBONES
from cavga.errors import ModelFileError
from cavga.model.dinov2 import Dinov2, refuse_imagenet
from cavga.model.efficientnet_lite import efficientnet_lite, weights_of_package


@dataclass(frozen=True)
class NetworkSource:
    """What a package gives of a network that it knows by name."""

    build: Callable[[str], nn.Module]
    """The whole network with random weights."""
    imagenet_file: Callable[[str], Path]
    """The file of its ImageNet weights; raises ModelFileError where it cannot be had."""


def whole_network(name: str) -> nn.Module:
    """A backbone's whole network with random weights."""
    return SOURCES[BACKBONES[name].source].build(name)


def imagenet_file(name: str) -> Path:
    """The file of a backbone's ImageNet weights; raises ModelFileError where it cannot be had."""
    return SOURCES[BACKBONES[name].source].imagenet_file(name)


def _torchvision_network(name: str) -> nn.Module:
    """Without layers that are left out at random in training.

    Those would draw from torch's global generator, and a resumed run would not be the same as an uninterrupted one.
    """
    build = getattr(models, name)
    return build(weights=None, stochastic_depth_prob=0.0) if name.startswith("convnext") else build(weights=None)


def _torchvision_file(name: str) -> Path:
    """In torch's own cache, downloaded on first use."""
    url = get_model_weights(name)["IMAGENET1K_V1"].url
    file_name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        expected = file_name.removesuffix(".pth").rsplit("-", 1)[1]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
    except (OSError, RuntimeError):
        raise ModelFileError(
            f"ImageNet weights are not here and could not be downloaded: save {url} as {path} "
            f"(or give a file as weights, --weights FILE); encoder (--encoder) efficientnet_lite0 needs no download"
        ) from None
    return path


SOURCES = {
    "torchvision": NetworkSource(_torchvision_network, _torchvision_file),
    "efficientnet_lite": NetworkSource(efficientnet_lite, weights_of_package),
    "dinov2": NetworkSource(Dinov2, refuse_imagenet),
}
