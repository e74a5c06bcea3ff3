"""The prior of `recommended`: what the training images' own posterior looks like, instead of one N(0, I).

Locally a mixture, one component a centre: the aggregated posterior (VampPrior, Tomczak and Welling 2018),
with centres chosen as PatchCore chooses its memory (Roth et al. 2022) and, unlike there, a standard deviation for
each. For the image as a whole a linear factor model of the flattened z, the paper's other latent: what the
training images' principal directions do not explain (DFM, Ahuja et al. 2019).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from cavga.attention import energy_attention
from cavga.model.blur import blurred
from cavga.shapes import AttentionMap, LatentMap, ScoreMap, Scores

FLAT_CHANNELS = 32  # of most variance, that are flattened
FLAT_POOL = 2  # patches a side that are averaged before z is flattened
SMALLEST_STD = 1e-6
# In standard deviations. Nearer than this every patch is as normal as can be, and the root of what rounding leaves of a
# squared distance of 0 would be noise that differs from runtime to runtime.
CLOSEST = 0.1
CENTRES_AT_ONCE = 500  # the distances of all patches to all centres are large
BLUR_REACH = 3  # patches; the map is smoothed with a standard deviation of one patch (docs/decisions/0012)
BORDER = 4  # patches: so near to the border, patches count by themselves (docs/decisions/0021)


@dataclass(frozen=True)
class Energies:
    """Local and flat energy of every patch, flat score of every image, as they are: not in standard deviations."""

    local: ScoreMap
    flat: ScoreMap
    flat_score: Scores

    def of(self, images: slice | Int[Tensor, " _"]) -> "Energies":
        """Those of some of the images, in the order asked for."""
        return Energies(self.local[images], self.flat[images], self.flat_score[images])

    @classmethod
    def joined(cls, parts: Sequence["Energies"]) -> "Energies":
        """Those of several batches of images."""
        columns = zip(*((part.local, part.flat, part.flat_score) for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))


class AggregatedPrior(nn.Module):
    """Mixture and factor model of z; both energies count in standard deviations of normal images that were left out.

    `cell_scales` holds mean and standard deviation of the local and the flat energy of a patch, larger near the border
    where normal images vary more there (docs/decisions/0021). `scales` holds mean and standard deviation (columns) of
    the local and the flat score of an image, and of both together: the sum of a patch's, the larger of an image's
    (rows).
    """

    centres: Tensor
    variances: Tensor
    flat_mean: Tensor
    flat_basis: Tensor
    cell_scales: Tensor
    scales: Tensor

    def __init__(
        self, *, num_centres: int, num_directions: int, latent_channels: int, map_size: tuple[int, int]
    ) -> None:
        super().__init__()
        num_flat = min(FLAT_CHANNELS, latent_channels) * (map_size[0] // FLAT_POOL) * (map_size[1] // FLAT_POOL)
        self.register_buffer("centres", torch.zeros(num_centres, latent_channels))
        self.register_buffer("variances", torch.ones(num_centres))
        self.register_buffer("flat_mean", torch.zeros(num_flat))
        self.register_buffer("flat_basis", torch.zeros(num_directions, num_flat))
        self.register_buffer("cell_scales", torch.tensor([0.0, 1.0])[None, :, None, None].repeat(2, 1, *map_size))
        self.register_buffer("scales", torch.tensor([[0.0, 1.0]]).repeat(4, 1))

    @classmethod
    def shaped_like(cls, tensors: Mapping[str, Tensor], prefix: str, map_size: tuple[int, int]) -> "AggregatedPrior":
        """A prior with room for the tensors of a saved one, whose names start with `prefix`."""
        num_centres, latent_channels = tensors[f"{prefix}centres"].shape
        num_directions = len(tensors[f"{prefix}flat_basis"])
        return cls(
            num_centres=num_centres, num_directions=num_directions, latent_channels=latent_channels, map_size=map_size
        )

    def local_energy(self, mu: LatentMap) -> ScoreMap:
        """min_c ||mu - c|| / s_c at each patch, at least CLOSEST: the distance of the nearest in its own unit."""
        # ||mu - c||^2 / s_c^2 is linear in (mu, ||mu||^2, 1): one product, and no division of every distance.
        norms = self.centres.square().sum(dim=1)
        linear = torch.stack([torch.ones_like(norms), norms], dim=1)
        weights = torch.cat([-2 * self.centres, linear], dim=1) / self.variances[:, None]
        square = mu.square().sum(dim=1, keepdim=True)
        patches = torch.cat([mu, square, torch.ones_like(square)], dim=1).flatten(2).transpose(1, 2)
        squared = patches.new_full(patches.shape[:2], torch.inf)
        for some in weights.split(CENTRES_AT_ONCE):  # type: ignore[no-untyped-call]  # torch's own
            squared = torch.minimum(squared, (patches @ some.T).amin(dim=2))
        return squared.clamp_min(CLOSEST**2).sqrt().view(-1, mu.shape[2], mu.shape[3])

    def flat_residual(self, mu: LatentMap) -> Float[Tensor, "batch flat_channels flat_rows flat_columns"]:
        """What the factor model leaves of the flattened z, as a map of coarser patches."""
        flat = flattened(mu) - self.flat_mean
        residual = flat - (flat @ self.flat_basis.T) @ self.flat_basis
        return residual.view(mu.shape[0], -1, mu.shape[2] // FLAT_POOL, mu.shape[3] // FLAT_POOL)

    def energies(self, mu: LatentMap) -> Energies:
        """What both models say of a z."""
        local, residual = self.local_energy(mu), self.flat_residual(mu)
        flat = residual.square().mean(dim=1).sqrt()
        flat = functional.interpolate(flat[:, None], size=local.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        return Energies(local, flat, residual.flatten(1).norm(dim=1))

    def forward(self, mu: LatentMap) -> tuple[ScoreMap, Scores]:
        """The anomaly map and the image's score, both in standard deviations of normal images: about 0 on those."""
        return self.joined(self.energies(mu))

    def joined(self, energies: Energies) -> tuple[ScoreMap, Scores]:
        """As `forward`, of energies that are there already, of this prior or of one fitted to other images."""
        patches, score = self._together(energies)
        return self._scaled(patches, 2), self._scaled(score, 3)

    def local_deviations(self, energies: Energies) -> ScoreMap:
        """The local energy of every patch in standard deviations of normal patches as far from the border."""
        return self._scaled_patches(energies.local, 0)

    def set_scales(self, normal: Energies) -> None:
        """Count in standard deviations of these: energies of normal images, each by a prior that has not seen it."""
        self.cell_scales.copy_(torch.stack([_by_border(normal.local), _by_border(normal.flat)]))
        scores = (largest_mean(self._scaled_patches(normal.local, 0)), normal.flat_score)
        self.scales[:2] = torch.stack([_mean_and_std(values) for values in scores])
        self.scales[2:] = torch.stack([_mean_and_std(values) for values in self._together(normal)])

    def _together(self, energies: Energies) -> tuple[ScoreMap, Scores]:
        local, flat = self._scaled_patches(energies.local, 0), self._scaled_patches(energies.flat, 1)
        # A sum would let what one model does not see add its noise to what the other does (docs/decisions/0011).
        score = torch.maximum(self._scaled(largest_mean(local), 0), self._scaled(energies.flat_score, 1))
        return smoothed(local + flat), score

    def attention(self, mu: LatentMap) -> AttentionMap:
        """A = exp(-E / 2): E is the squared local energy in units of what it is on normal images.

        That is an energy, not Grad-CAM. Grad-CAM weights the activation z with the gradient of -E / 2; this weights
        z - c, the offset from the nearest centre c, with it, and that gives -E whatever the network (Euler, of a
        square). For N(0, I), where c is 0, both are one: `cavga.attention.normality_cam`.
        """
        return energy_attention(-(self.local_energy(mu) / self.cell_scales[0, 0]).square(), 1)

    def _scaled_patches(self, values: ScoreMap, part: int) -> ScoreMap:
        return (values - self.cell_scales[part, 0]) / self.cell_scales[part, 1]

    def _scaled(self, values: Scores | ScoreMap, row: int) -> Tensor:
        return (values - self.scales[row, 0]) / self.scales[row, 1]


def _by_border(values: ScoreMap) -> Float[Tensor, "2 rows columns"]:
    """Mean and standard deviation of all inner patches; near the border of those as far from it, if larger."""
    distance = distance_from_border(values.shape[1], values.shape[2]).to(values.device)
    scales = values.new_empty(2, *values.shape[1:])
    inner = _mean_and_std(values[:, distance == distance.max()])
    for k in range(int(distance.max()) + 1):
        ring = distance == k
        scales[:, ring] = torch.maximum(_mean_and_std(values[:, ring]), inner)[:, None]
    return scales


def distance_from_border(rows: int, columns: int) -> Int[Tensor, "rows columns"]:
    """How many patches lie between a patch and the border, at most BORDER."""
    down, right = torch.arange(rows), torch.arange(columns)
    down, right = torch.minimum(down, rows - 1 - down), torch.minimum(right, columns - 1 - right)
    return torch.minimum(down[:, None], right).clamp_max(BORDER)


def largest_mean(patches: ScoreMap) -> Scores:
    """The largest mean of 3 x 3 patches."""
    return functional.avg_pool2d(patches[:, None], 3, stride=1).flatten(1).amax(dim=1)


def _mean_and_std(values: Tensor) -> Float[Tensor, " 2"]:
    std = values.std(correction=0)
    # A standard deviation of 0 (one image, or a flat set) says nothing: then the mean is the unit.
    unit = torch.where(std > SMALLEST_STD, std, values.mean().abs().clamp_min(SMALLEST_STD))
    return torch.stack([values.mean(), unit])


def flattened(mu: LatentMap) -> Float[Tensor, "batch units"]:
    """Z as a vector: its channels of most variance, the patches averaged in squares of FLAT_POOL."""
    return functional.avg_pool2d(mu[:, :FLAT_CHANNELS], FLAT_POOL).flatten(1)


def smoothed(patches: ScoreMap) -> ScoreMap:
    """A map of patches under a Gaussian with a standard deviation of one patch, its border repeated."""
    return blurred(patches, sigma=1.0, reach=BLUR_REACH)
