"""The latent: stage features -> mu or log variance, as a map (conv z) or as a vector (Table 8's flattened z).

The 1x1 projection is applied to each stage before it is enlarged (both are linear, so they commute):
projecting after would cost a tenth of the encoder.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cavga.shapes import FeatureMap, LatentMap, ResizedMap

# Added before the logarithm, in units of a channel's mean: below a tenth of it differences are noise.
LOG_OFFSET = 0.1


def to_size(features: FeatureMap, size: tuple[int, int]) -> ResizedMap:
    """A map at another size: block means if it is smaller, bilinear if it is larger."""
    if features.shape[2] > size[0]:
        return functional.avg_pool2d(features, features.shape[2] // size[0])
    if features.shape[2] < size[0]:
        # As two products: several times quicker on a CPU than interpolating hundreds of channels.
        rows = _bilinear_weights(features.shape[2], size[0], features)
        columns = _bilinear_weights(features.shape[3], size[1], features)
        return rows @ (features @ columns.T)
    return features


def local_mean(features: FeatureMap) -> FeatureMap:
    """Each cell's mean over its 3x3 neighbourhood; at the border over the neighbours that there are."""
    ones = torch.ones_like(features[:1, :1])
    return _sum_of_neighbours(features) / _sum_of_neighbours(ones)


def _sum_of_neighbours(features: FeatureMap) -> FeatureMap:
    # Rows, then columns: three times quicker on a CPU than pooling with a 3x3 window.
    padded = functional.pad(features, (1, 1, 1, 1))
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def _bilinear_weights(num_in: int, num_out: int, like: Tensor) -> Float[Tensor, "{num_out} {num_in}"]:
    """The matrix that enlarges by bilinear interpolation, corners not aligned, borders repeated."""
    centres = (torch.arange(num_out, device=like.device, dtype=like.dtype) + 0.5) * (num_in / num_out) - 0.5
    distance = (centres.clamp(0, num_in - 1)[:, None] - torch.arange(num_in, device=like.device)).abs()
    return (1 - distance).clamp_min(0)


class LatentHead(nn.Module):
    """A 1x1 convolution on the concatenated stages, done stage by stage.

    `is_local`: the stages are averaged over 3x3 neighbours before anything else, so that a cell says
    what is around it. `is_log`: then their logarithm is taken, so that contrast becomes an offset.
    """

    def __init__(
        self,
        *,
        channels: list[int],
        strides: list[int],
        stride: int,
        latent_channels: int,
        is_local: bool,
        is_log: bool,
    ) -> None:
        super().__init__()
        self.strides, self.stride = strides, stride
        self.is_local, self.is_log = is_local, is_log
        self.projections = nn.ModuleList(nn.Conv2d(c, latent_channels, 1, bias=False) for c in channels)
        self.bias = nn.Parameter(torch.zeros(latent_channels))
        # The unit of each channel under the logarithm; 1 until `whitening.fit_latent` sets it.
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(c), requires_grad=False) for c in channels)

    @property
    def num_channels(self) -> int:
        return self.bias.numel()

    def map_size(self, stages: list[Tensor]) -> tuple[int, int]:
        scale = self.strides[0] / self.stride
        return round(stages[0].shape[2] * scale), round(stages[0].shape[3] * scale)

    def forward(self, stages: list[Tensor]) -> LatentMap:
        size = self.map_size(stages)
        latent: Tensor = self.bias.view(1, -1, 1, 1)
        for features, projection in zip(self.prepared(stages), self.projections, strict=True):
            # Shrink before the projection and enlarge after it: fewer cells to project.
            small = to_size(features, size) if features.shape[2] > size[0] else features
            latent = latent + to_size(projection(small), size)
        return latent

    def merged(self, stages: list[Tensor]) -> FeatureMap:
        """What the head projects, as one map: the prepared stages at one size, concatenated."""
        size = self.map_size(stages)
        return torch.cat([to_size(features, size) for features in self.prepared(stages)], dim=1)

    def averaged(self, stages: list[Tensor]) -> list[Tensor]:
        """The stages averaged over 3x3 neighbours, if the head is local."""
        if not self.is_local:
            return stages
        return [local_mean(features) for features in stages]

    def prepared(self, stages: list[Tensor]) -> list[Tensor]:
        """The averaged stages, under the logarithm if the head has one."""
        averaged = self.averaged(stages)
        if not self.is_log:
            return averaged
        pairs = zip(averaged, self.scales, strict=True)
        return [(features.relu() / scale.view(1, -1, 1, 1) + LOG_OFFSET).log() for features, scale in pairs]

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


class FlattenedHead(nn.Module):
    """Table 8's R*: one linear layer on the flattened stages; its output is a map of one cell."""

    def __init__(self, *, channels: list[int], map_size: tuple[int, int], latent_channels: int) -> None:
        super().__init__()
        self.map_size = map_size
        # A convolution as large as its input is a linear layer on the flattened input.
        self.projection = nn.Conv2d(sum(channels), latent_channels, map_size)

    @property
    def num_channels(self) -> int:
        return self.projection.out_channels

    @property
    def weight(self) -> Float[Tensor, "units features rows columns"]:
        return self.projection.weight

    def forward(self, stages: list[Tensor]) -> LatentMap:
        return self.flatten(self.merged(stages))

    def flatten(self, features: FeatureMap) -> Float[Tensor, "batch latent 1 1"]:
        """The linear layer on merged features."""
        return self.projection(features)

    def merged(self, stages: list[Tensor]) -> FeatureMap:
        """What the head flattens, as one map: the stages at the size of the first, concatenated."""
        return torch.cat([to_size(features, self.map_size) for features in stages], dim=1)
