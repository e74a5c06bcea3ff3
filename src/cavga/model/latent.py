"""The latent map: stage features -> mu or log variance.

The 1x1 projection is applied to each stage before it is enlarged (both are linear, so they commute):
projecting after would cost a tenth of the encoder.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cavga.shapes import FeatureMap, LatentMap, ResizedMap


def align(features: FeatureMap, size: tuple[int, int], *, averaged: bool) -> ResizedMap:
    """A stage's features averaged over 3x3 neighbours if `averaged`, at `size`: block means or bilinear."""
    if averaged:
        features = functional.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
    if features.shape[2] > size[0]:
        factor = features.shape[2] // size[0]
        return functional.avg_pool2d(features, factor)
    if features.shape[2] < size[0]:
        return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
    return features


class LatentHead(nn.Module):
    """A 1x1 convolution on the concatenated stages, done stage by stage.

    One stage is taken as it is, as in the paper; several are averaged over 3x3 neighbours first and
    brought to `stride` pixels a cell.
    """

    def __init__(self, *, channels: list[int], strides: list[int], stride: int, latent_channels: int) -> None:
        super().__init__()
        self.strides, self.stride = strides, stride
        self.projections = nn.ModuleList(nn.Conv2d(c, latent_channels, 1, bias=False) for c in channels)
        self.bias = nn.Parameter(torch.zeros(latent_channels))

    @property
    def num_channels(self) -> int:
        return self.bias.numel()

    def map_size(self, stages: list[Tensor]) -> tuple[int, int]:
        scale = self.strides[0] / self.stride
        return round(stages[0].shape[2] * scale), round(stages[0].shape[3] * scale)

    def forward(self, stages: list[Tensor]) -> LatentMap:
        size = self.map_size(stages)
        latent: Tensor = self.bias.view(1, -1, 1, 1)
        for features, stride, projection in zip(stages, self.strides, self.projections, strict=True):
            # Enlarging comes after the projection and shrinking before it: fewer cells to project.
            inner = size if stride < self.stride else (features.shape[2], features.shape[3])
            projected = projection(align(features, inner, averaged=len(stages) > 1))
            latent = latent + align(projected, size, averaged=False)
        return latent

    def merged(self, stages: list[Tensor]) -> FeatureMap:
        """What the head projects, as one map: the stages aligned and concatenated."""
        size = self.map_size(stages)
        return torch.cat([align(f, size, averaged=len(stages) > 1) for f in stages], dim=1)

    @torch.no_grad()
    def set_projection(self, matrix: Float[Tensor, "latent features"], bias: Float[Tensor, " latent"]) -> None:
        """Make the head compute `matrix @ merged + bias`; the number of channels follows the matrix."""
        start, is_trained = 0, self.bias.requires_grad
        for projection in self.projections:
            assert isinstance(projection, nn.Conv2d)
            part = matrix[:, start : start + projection.in_channels]
            weight = part[:, :, None, None].to(projection.weight).clone()
            projection.weight = nn.Parameter(weight, requires_grad=is_trained)
            projection.out_channels = matrix.shape[0]
            start += projection.in_channels
        self.bias = nn.Parameter(bias.to(self.bias).clone(), requires_grad=is_trained)
