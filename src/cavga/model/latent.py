"""The latent: stage features -> mu or log variance, as a map (conv z) or as a vector (Table 8's flattened z).

The 1x1 projection is applied to each stage before it is enlarged (both are linear, so they commute):
projecting after would cost a tenth of the encoder.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cavga.shapes import FeatureMap, LatentMap, ResizedMap

# Added before the logarithm, in units of a channel's mean: below a tenth of it differences are noise.
LOG_OFFSET = 0.1


def to_size(features: FeatureMap, size: tuple[int, int], *, is_local: bool = False) -> ResizedMap:
    """A map at another size: block means if it is smaller, bilinear if it is larger.

    `is_local`: of each patch's mean over its 3x3 neighbourhood; at the border over the neighbours that there are.
    """
    if features.shape[2:] == size and not is_local:
        return features
    # As two products: several times quicker on a CPU than pooling, and than interpolating hundreds of channels.
    rows = _weights(features.shape[2], size[0], features, is_local=is_local)
    columns = _weights(features.shape[3], size[1], features, is_local=is_local)
    return rows @ (features @ columns.T)


def _weights(num_in: int, num_out: int, like: Tensor, *, is_local: bool) -> Float[Tensor, "{num_out} {num_in}"]:
    """The matrix that takes one axis of a map to another length."""
    inputs = torch.arange(num_in, device=like.device)
    outputs = torch.arange(num_out, device=like.device)
    if num_in > num_out:
        block = num_in // num_out
        weights = ((inputs // block) == outputs[:, None]).to(like.dtype) / block
    else:  # bilinear, corners not aligned, borders repeated
        centres = ((outputs + 0.5) * (num_in / num_out) - 0.5).clamp(0, num_in - 1)
        weights = (1 - (centres[:, None] - inputs).abs()).clamp_min(0).to(like.dtype)
    if not is_local:
        return weights
    neighbours = ((inputs - inputs[:, None]).abs() <= 1).float()
    with torch.autocast(like.device.type, enabled=False):  # thirds have to add up to 1
        return (weights.float() @ (neighbours / neighbours.sum(dim=1, keepdim=True))).to(like.dtype)


class LatentHead(nn.Module):
    """A 1x1 convolution on the concatenated stages, done stage by stage.

    `is_local`: the stages are averaged over 3x3 neighbours before anything else, so that a patch says
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
        # The unit of each channel under the logarithm; 1 until `cavga.training.fit_latent` sets it.
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(c), requires_grad=False) for c in channels)

    @property
    def num_channels(self) -> int:
        return self.bias.numel()

    def map_size(self, stages: list[Tensor]) -> tuple[int, int]:
        scale = self.strides[0] / self.stride
        return round(stages[0].shape[2] * scale), round(stages[0].shape[3] * scale)

    def forward(self, stages: list[Tensor]) -> LatentMap:
        latent: Tensor = self.bias.view(1, -1, 1, 1)
        for features, projection in zip(self._under_logarithm(stages), self.projections, strict=True):
            # Shrink before the projection and enlarge after it: fewer patches to project.
            if features.shape[2] > self.map_size(stages)[0]:
                latent = latent + projection(self._at_map_size(features, stages))
            else:
                latent = latent + self._at_map_size(projection(features), stages)
        return latent

    def merged(self, stages: list[Tensor]) -> FeatureMap:
        """What the head projects, as one map: the prepared stages at one size, concatenated."""
        return torch.cat([self._at_map_size(features, stages) for features in self._under_logarithm(stages)], dim=1)

    def averaged(self, stages: list[Tensor]) -> list[Tensor]:
        """The stages averaged over 3x3 neighbours, if the head is local."""
        return [
            to_size(features, (features.shape[2], features.shape[3]), is_local=self.is_local) for features in stages
        ]

    def _under_logarithm(self, stages: list[Tensor]) -> list[Tensor]:
        """The logarithm of the averaged stages, if the head has one; else the stages as they are."""
        if not self.is_log:
            return stages
        pairs = zip(self.averaged(stages), self.scales, strict=True)
        return [(features.relu() / scale.view(1, -1, 1, 1) + LOG_OFFSET).log() for features, scale in pairs]

    def _at_map_size(self, features: Tensor, stages: list[Tensor]) -> Tensor:
        """A prepared stage, projected or not, at the latent's size; averaged over neighbours unless it has been."""
        return to_size(features, self.map_size(stages), is_local=self.is_local and not self.is_log)

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
    """Table 8's R*: one linear layer on the flattened stages; its output is a map of one patch."""

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
