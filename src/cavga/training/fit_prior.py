"""Fit the aggregated prior of a fixed latent to the normal images: centres, standard deviations, directions, scales.

What normal images' energies are has to be measured on images that a prior has not seen: it remembers its own. So
each fold of the images is measured by a mixture of the other folds, and the prior that is kept is fitted to all of
them. The factor model misses a fifth of a few hundred images far more than the mixture does, and to leave out fewer
costs it next to nothing: it leaves out a part of a fold at a time (docs/decisions/0023). Scales and thresholds both
come from those measurements (cross-conformal prediction, Vovk 2015).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cavga.data.dataset import TrainingImages, image_batches
from cavga.images.decode import BATCH_SIZE
from cavga.model.build import map_size_of
from cavga.model.cavga import Cavga
from cavga.model.coreset import greedy_coreset
from cavga.model.prior import SMALLEST_STD, AggregatedPrior, Energies, flattened
from cavga.progress import SILENT, Progress
from cavga.shapes import LatentMap
from cavga.training.factor_model import FactorModel, LeaveOutFactors
from cavga.training.fit_guided_head import MAX_LEFT_OUT

NUM_CENTRES = 4000
MAX_CANDIDATES = 524288  # patches, as many from every image, that the centres are chosen from
NUM_NEIGHBOURS = 3  # centres whose distance is a centre's standard deviation
SHRINKAGE = 0.2  # of the mean variance, added to every centre's: an empty background has hardly any
MAX_PATCHES = 1_024_000  # of the images that the prior is fitted to: held in memory; 1000 images of 256 px, 444 of 384
MAX_MEASURED = 8192  # tiles, of whole photographs, that are measured
NUM_LEAVE_OUTS = 20  # of the factor model, of all folds together

Folds = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Latents:
    """z in half precision of normal images; `images` says which they are."""

    z: LatentMap
    images: NDArray[np.intp]


@dataclass(frozen=True)
class CrossFitEnergies:
    """The energies of normal images, each by a prior that was fitted without its fold; `images` says which they are.

    `fitted_to` is what the prior that is kept was fitted to.
    """

    images: NDArray[np.intp]
    energies: Energies
    fitted_to: Latents


@torch.no_grad()
def fit_aggregated_prior(
    model: Cavga,
    images: TrainingImages,
    parts: Folds,
    *,
    seed: int,
    device: torch.device,
    progress: Progress = SILENT,
) -> CrossFitEnergies:
    """Set the model's prior from normal images, which `parts` cuts into folds; the latent stays as it is.

    It is fitted to some of many images, and those are measured. Of a photograph all tiles are, in the fold that they
    share: its score is the highest of theirs.
    """
    model.eval()
    chosen, wanted = draw_images(images, map_size_of(model), seed)
    progress.begin("prior", len(parts) + 1, "fits")  # of each fold's, and of the one that is kept
    z = _encoded(model, images.normal[chosen], device)
    is_encoded = np.array_equal(chosen, wanted)

    def held_out(positions: NDArray[np.intp]) -> LatentMap:
        if is_encoded:
            return z[torch.from_numpy(positions)]
        return _encoded(model, images.normal[wanted[positions]], device)

    model.prior, energies = cross_fitted_prior(
        Latents(z, chosen), wanted, held_out, parts, images.unit_of, seed=seed, progress=progress
    )
    return CrossFitEnergies(wanted, energies, Latents(z, chosen))


@torch.no_grad()
def cross_fitted_prior(
    latents: Latents,
    wanted: NDArray[np.intp],
    held_out: Callable[[NDArray[np.intp]], LatentMap],
    parts: Folds,
    unit_of: NDArray[np.intp],
    *,
    seed: int,
    progress: Progress = SILENT,
) -> tuple[AggregatedPrior, Energies]:
    """The prior of normal images, and the energies of those that are `wanted`, each by fits without its fold.

    `parts` and `unit_of` are of all images; `held_out` gives the z of those at some positions of `wanted`. Advances
    by as many fits as there are parts, and one.
    """
    z, chosen = latents.z, latents.images
    models = LeaveOutFactors(all_flattened(z))
    measured = []
    for part in parts:
        positions = np.flatnonzero(np.isin(wanted, part))
        if not len(positions):
            continue
        held = held_out(positions)
        groups = leave_outs(unit_of[wanted[positions]], NUM_LEAVE_OUTS // len(parts), seed)
        left_out = [torch.from_numpy(np.isin(chosen, wanted[positions[group]])) for group in groups]
        others = torch.from_numpy(np.isin(chosen, part, invert=True))
        factor_models = [models.without(some & ~some.all()) for some in left_out]
        # An image that is alone is measured by itself.
        energies = measure_fold(z[others | ~others.any()], factor_models, held, groups, seed=seed, progress=progress)
        measured.append((positions, energies))
    prior = fitted_prior(z, models.without(torch.zeros(len(z), dtype=torch.bool)), seed, progress)
    order = np.concatenate([positions for positions, _ in measured]).argsort()
    in_order = Energies.joined([energies for _, energies in measured]).of(torch.from_numpy(order))
    prior.set_scales(in_order)
    return prior, in_order


def measure_fold(
    others: LatentMap,
    factor_models: Sequence[FactorModel],
    held: Float[Tensor, "held latent rows columns"],
    groups: Sequence[NDArray[np.intp]],
    *,
    seed: int,
    progress: Progress = SILENT,
) -> Energies:
    """The energies of `held`, the images of one fold, in order, by the mixture of the others.

    `groups` are positions in `held`; each has a factor model that was fitted without its images.
    """
    prior = fitted_prior(others, factor_models[0], seed, progress)
    found = []
    for group, (mean, basis) in zip(groups, factor_models, strict=True):
        prior.flat_mean, prior.flat_basis = mean, basis
        found.append(energies_by(prior, held[torch.from_numpy(group)]))
    return Energies.joined(found).of(torch.from_numpy(np.concatenate(groups).argsort()))


def leave_outs(units: NDArray[np.intp], number: int, seed: int) -> list[NDArray[np.intp]]:
    """Positions of images in so many parts of about one size, or in as many as there are units; no unit is cut."""
    different = np.random.default_rng(seed).permutation(np.unique(units))
    parts = np.array_split(different, min(max(1, number), len(different)))
    return [np.flatnonzero(np.isin(units, part)) for part in parts]


def draw_images(
    images: TrainingImages, map_size: tuple[int, int], seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the normal images that the prior is fitted to, and of those that are measured.

    Measured are the same ones, but never fewer than the guided head leaves out: both together set the mask's threshold.
    Of tiles they are those of whole photographs.
    """
    order = np.random.default_rng(seed).permutation(images.num_normal)
    most = max(1, MAX_PATCHES // (map_size[0] * map_size[1]))
    if images.photographs is not None:
        return np.sort(order[:most]), images.tiles_of_some_photographs(most=MAX_MEASURED, seed=seed)
    return np.sort(order[:most]), np.sort(order[: max(most, MAX_LEFT_OUT)])


def _encoded(model: Cavga, images: NDArray[np.uint8], device: torch.device) -> LatentMap:
    """Mu of some images, in half precision."""
    return torch.cat([model.encode(batch).mu.half() for batch in image_batches(images, device)])


def energies_by(prior: AggregatedPrior, z: LatentMap) -> Energies:
    """What a prior says of many images in half precision."""
    return Energies.joined([prior.energies(batch.float()) for batch in z.split(BATCH_SIZE)])  # type: ignore[no-untyped-call]  # torch's own


def fitted_prior(z: LatentMap, factor_model: FactorModel, seed: int, progress: Progress = SILENT) -> AggregatedPrior:
    """The mixture of these images beside a factor model; the scales are left to `AggregatedPrior.set_scales`."""
    candidates = torch.cat(list(_patches(z, seed)))
    first = int(torch.randint(len(candidates), (), generator=torch.Generator().manual_seed(seed)))
    num_centres = min(NUM_CENTRES, len(candidates))
    centres = candidates[greedy_coreset(candidates, num_centres, first=first, progress=progress)]
    mean, basis = factor_model
    prior = AggregatedPrior(
        num_centres=len(centres),
        num_directions=len(basis),
        latent_channels=centres.shape[1],
        map_size=(z.shape[2], z.shape[3]),
    ).to(centres.device)
    prior.centres.copy_(centres)
    prior.variances.copy_(_variances(centres))
    prior.flat_mean.copy_(mean)
    prior.flat_basis.copy_(basis)
    return prior


def all_flattened(z: LatentMap) -> Float[Tensor, "images units"]:
    """As `cavga.model.prior.flattened`, of many images in half precision."""
    return torch.cat([flattened(batch.float()) for batch in z.split(BATCH_SIZE)])  # type: ignore[no-untyped-call]


def _patches(z: LatentMap, seed: int) -> Iterator[Float[Tensor, "patches latent"]]:
    """The patches of every image that centres are chosen from: all of them, or as many of each as there is room for."""
    generator = torch.Generator().manual_seed(seed)
    num_drawn = max(1, MAX_CANDIDATES // len(z))
    for image in z:
        patches = image.flatten(1).T.float()
        yield (
            patches
            if len(patches) <= num_drawn
            else patches[torch.randperm(len(patches), generator=generator)[:num_drawn]]
        )


def _variances(centres: Float[Tensor, "centres latent"]) -> Float[Tensor, " centres"]:
    """s_c^2: the mean squared distance to the nearest other centres, shrunk towards the mean of all."""
    num_others = min(NUM_NEIGHBOURS, len(centres) - 1)
    if num_others < 1:
        return torch.ones(len(centres), device=centres.device)
    nearest = torch.cdist(centres, centres).topk(num_others + 1, largest=False).values[:, 1:]
    variances = nearest.square().mean(dim=1)
    return (variances + SHRINKAGE * variances.mean()).clamp_min(SMALLEST_STD**2)
