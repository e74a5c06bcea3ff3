"""Fit the aggregated prior of a fixed latent to the normal images: centres, deviations, directions, scales.

What an image's energies are in deviations of normal ones has to be measured on images that the prior has
not seen: it remembers its own. A fifth is left out for that, then the prior is fitted again with all.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cavga.coreset import greedy_coreset
from cavga.data.dataset import image_batches
from cavga.model.cavga import Cavga
from cavga.model.prior import AggregatedPrior, flattened, smoothed
from cavga.model.variants import map_size_of

NUM_CENTRES = 4000
MAX_CANDIDATES = 32768  # cells, drawn from all images, that the centres are chosen from
NUM_NEIGHBOURS = 3  # centres whose distance is a centre's deviation
SHRINKAGE = 0.2  # of the mean variance, added to every centre's: an empty background has hardly any
MAX_IMAGES = 1000  # that the factor model is fitted to, and whose cells are candidates: they are held in memory
EXPLAINED = 0.97  # share of the flattened z's variance that its directions explain
SHARE_LEFT_OUT, MAX_LEFT_OUT = 0.2, 64  # images that the scales are measured on
SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Sample:
    """What the prior is fitted to, one row an image."""

    cells: Float[Tensor, "images cells latent"]
    flat: Float[Tensor, "images units"]


@torch.no_grad()
def fit_aggregated_prior(model: Cavga, images: NDArray[np.uint8], *, seed: int, device: torch.device) -> None:
    """Set the model's prior from normal images; the latent stays as it is."""
    model.eval()
    images = images[np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_IMAGES])]
    sample = _sample(model, images, seed, device)
    is_left_out = choose_left_out(len(images), seed)
    left_out = torch.from_numpy(is_left_out)
    scales = None
    if is_left_out.any():
        part = _fitted(Sample(sample.cells[~left_out], sample.flat[~left_out]), map_size_of(model), seed)
        scales = _scales(model, part, images[is_left_out], device)
    model.prior = _fitted(sample, map_size_of(model), seed)
    if scales is None:
        scales = _scales(model, model.prior, images, device)
    model.prior.scales.copy_(scales)


def choose_left_out(num_images: int, seed: int) -> NDArray[np.bool_]:
    """Which of the images scales are measured on; none of one, which is then measured by itself."""
    num_left_out = min(max(1, round(SHARE_LEFT_OUT * num_images)), MAX_LEFT_OUT) if num_images > 1 else 0
    is_left_out = np.zeros(num_images, dtype=np.bool_)
    is_left_out[np.random.default_rng([seed, num_images]).permutation(num_images)[:num_left_out]] = True
    return is_left_out


def _sample(model: Cavga, images: NDArray[np.uint8], seed: int, device: torch.device) -> Sample:
    """Cells drawn from every image, as many from each, and its flattened z."""
    generator = torch.Generator().manual_seed(seed)
    cells, flat = [], []
    for batch in image_batches(images, device):
        mu = model.encode(batch).mu
        rows = mu.flatten(2).transpose(1, 2)
        num_drawn = min(rows.shape[1], max(1, MAX_CANDIDATES // len(images)))
        drawn = torch.stack([torch.randperm(rows.shape[1], generator=generator)[:num_drawn] for _ in rows]).to(device)
        cells.append(torch.gather(rows, 1, drawn[..., None].expand(-1, -1, rows.shape[2])))
        flat.append(flattened(mu))
    return Sample(torch.cat(cells), torch.cat(flat))


def _fitted(sample: Sample, map_size: tuple[int, int], seed: int) -> AggregatedPrior:
    candidates = sample.cells.flatten(0, 1)
    first = int(torch.randint(len(candidates), (), generator=torch.Generator().manual_seed(seed)))
    centres = candidates[greedy_coreset(candidates, min(NUM_CENTRES, len(candidates)), first=first)]
    mean, basis = _factors(sample.flat)
    prior = AggregatedPrior(
        num_centres=len(centres), num_directions=len(basis), latent_channels=centres.shape[1], map_size=map_size
    ).to(centres.device)
    prior.centres.copy_(centres)
    prior.variances.copy_(_variances(centres))
    prior.flat_mean.copy_(mean)
    prior.flat_basis.copy_(basis)
    return prior


def _variances(centres: Float[Tensor, "centres latent"]) -> Float[Tensor, " centres"]:
    """s_c^2: the mean squared distance to the nearest other centres, shrunk towards the mean of all."""
    num_others = min(NUM_NEIGHBOURS, len(centres) - 1)
    if num_others < 1:
        return torch.ones(len(centres), device=centres.device)
    nearest = torch.cdist(centres, centres).topk(num_others + 1, largest=False).values[:, 1:]
    variances = nearest.square().mean(dim=1)
    return (variances + SHRINKAGE * variances.mean()).clamp_min(SMALLEST_DEVIATION**2)


def _factors(flat: Float[Tensor, "images units"]) -> tuple[Float[Tensor, " units"], Float[Tensor, "directions units"]]:
    """Mean and the principal directions that explain EXPLAINED of the variance."""
    mean = flat.mean(dim=0)
    _, values, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    shares = values.square().cumsum(dim=0) / values.square().sum().clamp_min(SMALLEST_DEVIATION)
    num_kept = min(int((shares < EXPLAINED).sum()) + 1, max(len(flat) - 1, 0))
    return mean, directions[:num_kept]


def _scales(
    model: Cavga, prior: AggregatedPrior, images: NDArray[np.uint8], device: torch.device
) -> Float[Tensor, "6 2"]:
    """The prior's scales, measured on images that it was not fitted to."""
    batches = [prior.energies(model.encode(batch).mu) for batch in image_batches(images, device)]
    parts = [torch.cat(values) for values in zip(*batches, strict=True)]
    rows = [_mean_and_deviation(values) for values in parts]
    scaled = [(values - row[0]) / row[1] for values, row in zip(parts, rows, strict=True)]
    rows += [_mean_and_deviation(smoothed(scaled[0] + scaled[1])), _mean_and_deviation(scaled[2] + scaled[3])]
    return torch.stack(rows)


def _mean_and_deviation(values: Tensor) -> Float[Tensor, " 2"]:
    deviation = values.std(correction=0)
    # A deviation of 0 (one image, or a flat set) says nothing: then the mean is the unit.
    unit = torch.where(deviation > SMALLEST_DEVIATION, deviation, values.mean().abs().clamp_min(SMALLEST_DEVIATION))
    return torch.stack([values.mean(), unit])
