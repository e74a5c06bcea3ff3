"""Encoders: images -> the feature maps of their stages, finest first.

R is the convolutional part of ResNet-18, D the DC-GAN discriminator without its last layer, as in the
paper. Stages are numbered as torchvision does: 1 to 4, and 0 for what R has before its first.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from cavga.shapes import Images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class ResNet18Encoder(nn.Module):
    """The first stages of torchvision's ResNet-18: its stem, then "layer1" to `depth`; its parameter names."""

    stage_channels: ClassVar[dict[int, int]] = {0: 64, 1: 64, 2: 128, 3: 256, 4: 512}
    stage_strides: ClassVar[dict[int, int]] = {0: 2, 1: 4, 2: 8, 3: 16, 4: 32}
    mean: Tensor
    deviation: Tensor

    def __init__(self, *, depth: int, frozen: bool) -> None:
        super().__init__()
        network = resnet18(weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = (
            network.conv1,
            network.bn1,
            network.relu,
            network.maxpool,
        )
        self.depth, self.has_fixed_norm = depth, frozen
        for stage in range(1, depth + 1):
            self.add_module(f"layer{stage}", getattr(network, f"layer{stage}"))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(not frozen)

    def forward(self, images: Images) -> dict[int, Tensor]:
        """The feature map of every stage up to the depth, by its number."""
        features = self.relu(self.bn1(self.conv1((images - self.mean) / self.deviation)))
        stages = {0: features}
        features = self.maxpool(features)
        for stage in range(1, self.depth + 1):
            features = self.get_submodule(f"layer{stage}")(features)
            stages[stage] = features
        return stages


class DcganEncoder(nn.Module):
    """The DC-GAN discriminator's convolutions: 4x4, stride 2, 64 to 512 channels (Radford et al. 2016)."""

    stage_channels: ClassVar[dict[int, int]] = {1: 64, 2: 128, 3: 256, 4: 512}
    stage_strides: ClassVar[dict[int, int]] = {1: 2, 2: 4, 3: 8, 4: 16}

    def __init__(self, *, depth: int, frozen: bool) -> None:
        super().__init__()
        self.has_fixed_norm = frozen
        channels = {0: 3, **self.stage_channels}
        self.stages = nn.ModuleList(_dcgan_stage(channels[i], channels[i + 1], normalised=i > 0) for i in range(depth))
        self.apply(initialise_dcgan)
        self.requires_grad_(not frozen)

    def forward(self, images: Images) -> dict[int, Tensor]:
        """The feature map of every stage up to the depth, by its number."""
        features = 2 * images - 1
        stages = {}
        for number, stage in enumerate(self.stages, start=1):
            features = stage(features)
            stages[number] = features
        return stages


Encoder = ResNet18Encoder | DcganEncoder


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
