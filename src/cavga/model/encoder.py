"""Encoders: images -> the feature maps of their stages, finest first.

R is the convolutional part of ResNet-18, D the DC-GAN discriminator without its last layer, as in the
paper; R can also be another network of cavga.config.backbones.
"""

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from cavga.config.backbones import DCGAN_STAGES, Backbone
from cavga.model.dinov2 import Dinov2Encoder
from cavga.model.networks import whole_network
from cavga.shapes import Images


class TorchvisionEncoder(nn.Module):
    """The first stages of a network of layers, up to number `depth`, with the network's parameter names."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, *, depth: int, frozen: bool) -> None:
        super().__init__()
        self.backbone, self.has_fixed_norm = backbone, frozen
        self.layers = {number: stage.layers for number, stage in backbone.stages.items() if number <= depth}
        self.stage_channels = {number: stage.channels for number, stage in backbone.stages.items()}
        whole = whole_network(backbone.name)
        for name in chain(*self.layers.values()):
            self._take(whole, name)
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(not frozen)

    def forward(self, images: Images) -> dict[int, Tensor]:
        """The feature map of every stage up to the depth, by its number."""
        features, margin = self.normalised(images), self.backbone.margin
        if margin:
            features = functional.pad(features, (margin, 0, margin, 0))
        stages = {}
        for number, names in self.layers.items():
            for name in names:
                features = self.get_submodule(name)(features)
            stages[number] = features
        return stages

    def normalised(self, images: Images) -> Images:
        """What the first layer sees."""
        return (images - self.mean) / self.std

    def _take(self, whole: nn.Module, name: str) -> None:
        """Make a layer of the whole network one of this module's, under the same name."""
        parent, _, child = name.rpartition(".")
        if parent and parent not in self._modules:
            self.add_module(parent, nn.Sequential())
        self.get_submodule(parent).add_module(child, whole.get_submodule(name))


class DcganEncoder(nn.Module):
    """The DC-GAN discriminator's convolutions: 4x4, stride 2, 64 to 512 channels (Radford et al. 2016)."""

    def __init__(self, *, depth: int, frozen: bool) -> None:
        super().__init__()
        self.has_fixed_norm = frozen
        self.stage_channels = {number: stage.channels for number, stage in DCGAN_STAGES.items()}
        channels = {0: 3, **self.stage_channels}
        self.stages = nn.ModuleList(_dcgan_stage(channels[i], channels[i + 1], normalised=i > 0) for i in range(depth))
        self.apply(initialise_dcgan)
        self.requires_grad_(not frozen)

    def forward(self, images: Images) -> dict[int, Tensor]:
        """The feature map of every stage up to the depth, by its number."""
        features = self.normalised(images)
        stages = {}
        for number, stage in enumerate(self.stages, start=1):
            features = stage(features)
            stages[number] = features
        return stages

    def normalised(self, images: Images) -> Images:
        """What the first layer sees."""
        return 2 * images - 1


Encoder = TorchvisionEncoder | Dinov2Encoder | DcganEncoder


def fix_norm(encoder: Encoder) -> None:
    """Freeze the batch norm of an encoder with imported weights, statistics and parameters."""
    encoder.has_fixed_norm = True
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)


def _dcgan_stage(in_channels: int, out_channels: int, *, normalised: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=not normalised)]
    if normalised:
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True))


def initialise_dcgan(module: nn.Module) -> None:
    """DC-GAN's start: convolutions N(0, 0.02), batch norm N(1, 0.02) with bias 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
