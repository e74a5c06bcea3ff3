"""Decoders: latent map -> logits of the reconstruction, at the size of the image.

The number of doublings follows from the latent's stride; widths halve at every doubling, down to
`width` before the last.
"""

import math

from torch import Tensor, nn

from cavga.model.encoder import initialise_dcgan
from cavga.shapes import Images, LatentMap


class ResidualBlock(nn.Module):
    """One doubling of the residual decoder: upsample, convolve, and add the first to the second.

    The skip runs from the output of the upsampling layer to the output of the convolution, which
    the paper credits with keeping the latent in use; `skip` False leaves it out.
    """

    def __init__(self, in_channels: int, out_channels: int, *, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.upsample = _upsampling(in_channels, out_channels)
        self.convolve = nn.Sequential(
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        upsampled = self.upsample(features)
        convolved: Tensor = self.convolve(upsampled)
        return upsampled + convolved if self.skip else convolved


class ResidualDecoder(nn.Module):
    """The decoder of backbone R: residual doublings, then a plain one to RGB."""

    def __init__(self, *, latent_channels: int, stride: int, width: int, skip: bool = True) -> None:
        super().__init__()
        channels = _channel_plan(latent_channels, stride, width)
        blocks = [ResidualBlock(channels[i], channels[i + 1], skip=skip) for i in range(len(channels) - 1)]
        self.layers = nn.Sequential(*blocks, nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1))

    def forward(self, z: LatentMap) -> Images:
        return self.layers(z)


class DcganDecoder(nn.Module):
    """The decoder of backbone D: DC-GAN's generator, grown from a latent map instead of a vector."""

    def __init__(self, *, latent_channels: int, stride: int, width: int) -> None:
        super().__init__()
        channels = _channel_plan(latent_channels, stride, width)
        blocks = [_upsampling(channels[i], channels[i + 1]) for i in range(len(channels) - 1)]
        self.layers = nn.Sequential(*blocks, nn.ConvTranspose2d(channels[-1], 3, 4, stride=2, padding=1))
        self.apply(initialise_dcgan)

    def forward(self, z: LatentMap) -> Images:
        return self.layers(z)


class FlattenedDecoder(nn.Module):
    """The decoder of a flattened z: a linear layer to a map of as many channels, then another decoder."""

    def __init__(
        self, decoder: ResidualDecoder | DcganDecoder, *, latent_channels: int, map_size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.to_map = nn.Sequential(
            nn.ConvTranspose2d(latent_channels, latent_channels, map_size, bias=False),
            nn.BatchNorm2d(latent_channels),
            nn.ReLU(inplace=True),
        )
        self.decoder = decoder

    def forward(self, z: LatentMap) -> Images:
        return self.decoder(self.to_map(z))


def _channel_plan(latent_channels: int, stride: int, width: int) -> list[int]:
    """Channels before each doubling: the latent's, then width * 2^k down to width."""
    num_doublings = int(math.log2(stride))
    return [latent_channels, *(width * 2**k for k in range(num_doublings - 2, -1, -1))]


def _upsampling(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
