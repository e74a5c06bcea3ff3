"""The latent of `recommended`: mu set by whitening the features of the normal images, without a gradient.

Fitted on normal images alone, ||mu||^2 is a Mahalanobis distance: a Gaussian model of the features in
other clothes (Rippel et al. 2020; Defard et al. 2021, PaDiM), which CAVGA reads as its KL to the prior.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cavga.config.schema import ModelConfig
from cavga.data.dataset import image_batches
from cavga.images.decode import BATCH_SIZE
from cavga.model.cavga import Cavga
from cavga.model.latent import LatentHead
from cavga.progress import SILENT, Progress, counted

# Share of the mean eigenvalue that is added to every eigenvalue of the feature covariance. Few or
# overlapping training images make the small ones far too small, and whitening divides by them
# (docs/decisions/0005).
EIGENVALUE_FLOOR = 0.03

CONSTANT = 1e-9  # of the mean variance of the features: below it is what float32 leaves of a constant one
# Of the most active channel's mean, below which a channel has no unit of its own: float32 leaves about 1e-6 of that as
# rounding, and LOG_OFFSET is a tenth of a unit.
SMALLEST_UNIT = 1e-5


@dataclass(frozen=True)
class Whitening:
    """mu = matrix @ features + bias: zero mean and uncorrelated on what was seen, the variances as asked for."""

    matrix: Float[Tensor, "latent features"]
    bias: Float[Tensor, " latent"]


def whitening_of(
    feature_maps: Iterable[Float[Tensor, "_ features _ _"]],
    *,
    power: float,
    spectrum: tuple[float, float],
    max_channels: int,
) -> Whitening:
    """Whitening of all positions of all maps, in one pass and in float64.

    Each principal direction is divided by its variance to the `power`: 0.5 whitens, 0 only turns. `spectrum`
    is the range kept of the directions, by falling variance: (0, 1) is all of them, (0.5, 1) the lower half;
    of those the first `max_channels`.
    """
    count, total, outer = 0, torch.zeros(()), torch.zeros(())
    for features in feature_maps:
        rows = features.permute(0, 2, 3, 1).flatten(0, 2).double()
        count, total, outer = count + len(rows), total + rows.sum(dim=0), outer + rows.T @ rows
    mean = total / count
    covariance = outer / count - torch.outer(mean, mean)
    # A constant channel is a direction of its own. What rounding leaves of its variance would turn it into all the
    # others of none: each patch then sums many large constants that cancel, and float32 shows what is left over.
    is_constant = covariance.diagonal() <= CONSTANT * covariance.diagonal().mean()
    covariance[is_constant], covariance[:, is_constant] = 0, 0
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    first, last = round(spectrum[0] * len(values)), round(spectrum[1] * len(values))
    keep = slice(first, min(last, first + max_channels))
    scale = (values[keep] + EIGENVALUE_FLOOR * values.mean()).pow(-power)
    matrix = scale[:, None] * vectors[:, keep].T
    return Whitening(matrix.float(), (-matrix @ mean).float())


@torch.no_grad()
def fit_latent(
    model: Cavga,
    images: NDArray[np.uint8],
    settings: ModelConfig,
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> None:
    """Set the mu head by whitening the features of all images."""
    model.eval()
    head = model.mu_head
    assert isinstance(head, LatentHead)  # a flattened z is never whitened: cavga.config.schema refuses it
    num_batches = -(-len(images) // BATCH_SIZE)
    progress.begin("features", num_batches * (1 + head.is_log), "batches")
    if head.is_log:
        _set_scales(head, counted(_encoded(model, images, device), progress))
    merged = (head.merged(stages) for stages in counted(_encoded(model, images, device), progress))
    assert settings.whitening is not None  # the configuration is resolved
    whitening = whitening_of(
        merged, power=settings.whitening, spectrum=settings.spectrum, max_channels=settings.latent_channels
    )
    head.set_projection(whitening.matrix, whitening.bias)
    model.logvar_head = None  # a learnt log variance belongs to the mu it was learnt with


@torch.no_grad()
def fit_prior_variance(model: Cavga, images: NDArray[np.uint8], *, device: torch.device) -> None:
    """Set the prior's variance at each position to the mean energy there.

    Zero padding gives every image unusual features at its borders: under one variance for all
    positions the energy finds little but the frame (docs/decisions/0004).
    """
    model.eval()
    energy = torch.zeros_like(model.prior_variance)
    for stages in _encoded(model, images, device):
        energy += model.mu_head(stages).square().mean(dim=1).sum(dim=0)
    model.set_prior_variance(energy / len(images))


def _encoded(model: Cavga, images: NDArray[np.uint8], device: torch.device) -> Iterator[list[Tensor]]:
    for batch in image_batches(images, device):
        yield model.encode_stages(batch)


def _set_scales(head: LatentHead, batches: Iterator[list[Tensor]]) -> None:
    """The unit of each channel under the logarithm: its mean over all training images."""
    sums = [torch.zeros_like(scale) for scale in head.scales]
    num_batches = 0
    for stages in batches:
        num_batches += 1
        for total, features in zip(sums, head.averaged(stages), strict=True):
            total.add_(features.relu().mean(dim=(0, 2, 3)))
    for scale, total in zip(head.scales, sums, strict=True):
        # A channel that is never active has no unit; any will do. Nor has one whose activity is but rounding: the
        # logarithm would make as much of that as of a defect, and it differs with the batch and with the runtime.
        is_active = total > SMALLEST_UNIT * total.max()
        scale.copy_(torch.where(is_active, total / num_batches, torch.ones_like(total)))
