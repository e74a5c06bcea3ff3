"""The mixture of the aggregated prior with its settings open, for `study.py`."""

from collections.abc import Callable

import torch
from torch import Tensor

from cavga.model.coreset import greedy_coreset
from cavga.model.prior import AggregatedPrior
from studies.factors.energies import PARTS, Maps

SHRINKAGE = 0.2


def neighbours(patches: Tensor, centres: Tensor) -> Tensor:
    """The mean squared distance to the three nearest other centres, shrunk."""
    variances = torch.cdist(centres, centres).topk(4, largest=False).values[:, 1:].square().mean(dim=1)
    return variances + SHRINKAGE * variances.mean()


def alike(patches: Tensor, centres: Tensor) -> Tensor:
    """The mean of those of `neighbours`, for every centre."""
    return neighbours(patches, centres).mean().expand(len(centres))


def of_own_cells(patches: Tensor, centres: Tensor) -> Tensor:
    """The mean squared distance of the patches that are nearest to a centre; five patches count as all others do."""
    count, total = torch.zeros(len(centres)), torch.zeros(len(centres))
    for some in patches.split(16384):
        nearest = torch.cdist(some, centres).min(dim=1)
        count += torch.bincount(nearest.indices, minlength=len(centres))
        total.index_add_(0, nearest.indices, nearest.values.square())
    return (total + 5 * total.sum() / count.sum()) / (count + 5)


def centres_of(
    x: Maps,
    *,
    num_centres: int = 4000,
    num_candidates: int | None = None,
    greedy: bool = True,
    deviations: Callable[[Tensor, Tensor], Tensor] = neighbours,
) -> tuple[Tensor, Tensor]:
    """Centres out of the candidate patches, and the variance of each."""
    patches = x["fit"].permute(0, 2, 3, 1).flatten(0, 2)
    drawn = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:num_candidates]
    candidates = patches[drawn].float()
    centres = candidates[greedy_coreset(candidates, num_centres, first=0)] if greedy else candidates[:num_centres]
    return centres, deviations(candidates, centres)


def mixture(x: Maps, centres: Tensor, variances: Tensor) -> Maps:
    """Distance to the nearest centre in its standard deviations."""
    size = (x["fit"].shape[2], x["fit"].shape[3])
    prior = AggregatedPrior(num_centres=len(centres), num_directions=0, latent_channels=centres.shape[1], map_size=size)
    prior.centres.copy_(centres)
    prior.variances.copy_(variances)
    return {part: torch.cat([prior.local_energy(maps.float()) for maps in x[part].split(16)]) for part in PARTS}
