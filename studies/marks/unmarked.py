"""What cannot use marks, on the same z and with thresholds of the same folds: PaDiM and PatchCore.

PaDiM is a Gaussian a position over the first NUM_CHANNELS channels of z, PatchCore the distance to the nearest of as
many patches as our prior has centres, chosen alike, without that prior's standard deviations and factor model.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cavga.benchmark.baselines.padim import NUM_CHANNELS, RIDGE, blurred_as_published
from cavga.images.decode import BATCH_SIZE
from cavga.inference.graph import enlarged
from cavga.training.factor_model import factors
from cavga.training.fit_prior import all_flattened, fitted_prior
from studies.marks.latents import SEED, MarkedSet

Scores = NDArray[np.float32]


@torch.no_grad()
def padim(normal: Tensor, size: int) -> Callable[[Tensor], Scores]:
    """The highest Mahalanobis distance of a place of the blurred map."""
    rows = normal[:, :NUM_CHANNELS].float().permute(2, 3, 0, 1)  # rows, columns, images, channels
    mean = rows.mean(dim=2)
    centred = rows - mean[:, :, None]
    covariance = centred.mT @ centred / max(1, len(normal) - 1)
    precision = torch.linalg.inv(covariance + RIDGE * torch.eye(covariance.shape[-1]))

    def scores(z: Tensor) -> Tensor:
        offset = z[:, :NUM_CHANNELS].float().permute(2, 3, 0, 1) - mean[:, :, None]
        squared = ((offset @ precision) * offset).sum(dim=3).permute(2, 0, 1)
        return blurred_as_published(enlarged(squared.clamp_min(0).sqrt(), (size, size))).flatten(1).amax(dim=1)

    return lambda z: _in_batches(scores, z)


@torch.no_grad()
def patchcore(normal: Tensor, _size: int) -> Callable[[Tensor], Scores]:
    """The greatest distance of a patch to its nearest in the bank."""
    prior = fitted_prior(normal, factors(all_flattened(normal)), SEED)
    prior.variances.fill_(1.0)
    return lambda z: _in_batches(lambda some: prior.local_energy(some.float()).flatten(1).amax(dim=1), z)


@torch.no_grad()
def _in_batches(scores: Callable[[Tensor], Tensor], z: Tensor) -> Scores:
    return torch.cat([scores(some) for some in z.split(BATCH_SIZE)]).numpy()


METHODS: Mapping[str, Callable[[Tensor, int], Callable[[Tensor], Scores]]] = {"PaDiM": padim, "PatchCore": patchcore}


def scores_of(data: MarkedSet, size: int) -> Iterator[tuple[str, Scores, Scores]]:
    """Of each method its name, the scores of the training images by fits without their fold, and of the test images."""
    fold = data.fold.numpy()
    for name, fit in METHODS.items():
        normal = np.zeros(len(fold), dtype=np.float32)
        for k in np.unique(fold):
            held = torch.from_numpy(fold == k)
            normal[fold == k] = fit(data.train.z[~held], size)(data.train.z[held])
        yield name, normal, fit(data.train.z, size)(data.test.z)
