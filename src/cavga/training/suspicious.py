"""Training photographs that score far above all others: a defect among the good ones hides there."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cavga.config.schema import RunConfig
from cavga.config.variant import TrainingPlan
from cavga.data.dataset import TrainingImages
from cavga.errors import UsageError
from cavga.model.cavga import Cavga
from cavga.model.prior import Energies
from cavga.progress import SILENT, Progress
from cavga.training.fit import fit_prior
from cavga.training.fit_latent import fit_latent
from cavga.training.fit_prior import Folds

FAR_OUT = 3.0  # interquartile ranges above the upper quartile (Tukey 1977, exploratory data analysis: "far out")
BATCH_SIZE = 64  # images whose energies become scores at once


def far_out(scores: ArrayLike) -> NDArray[np.bool_]:
    """Which scores lie more than FAR_OUT interquartile ranges above the upper quartile."""
    values = np.asarray(scores, dtype=np.float64)
    lower, upper = np.quantile(values, [0.25, 0.75])
    found: NDArray[np.bool_] = values > upper + FAR_OUT * (upper - lower)
    return found


def suspicious_photographs(
    model: Cavga, images: TrainingImages, config: RunConfig, parts: Folds, progress: Progress = SILENT
) -> list[tuple[int, float]]:
    """Position and score of the photographs that are far out, the highest first, by models that had not seen them.

    `model` has its encoder's weights and is left as it is; `parts` cuts the photographs into folds. Raises UsageError
    where nothing scores photographs without having seen them before a model is trained.
    """
    check_that_photographs_can_be_judged(config)
    device = next(model.parameters()).device
    probe = copy.deepcopy(model)
    fit_latent(probe, images.normal, config.model, device=device, progress=progress)
    held_out = fit_prior(probe, images, config, images.tiles_of(parts), device=device, progress=progress)
    assert held_out is not None
    scores = np.concatenate([_scores(probe, held_out.energies.of(part)) for part in _batches(len(held_out.images))])
    photographs, places = np.unique(images.photograph_of[held_out.images], return_inverse=True)
    highest = np.full(len(photographs), -np.inf)
    np.maximum.at(highest, places, scores)  # of a photograph that is cut into tiles
    found = [(int(photographs[i]), float(highest[i])) for i in np.flatnonzero(far_out(highest))]
    return sorted(found, key=lambda item: -item[1])


def check_that_photographs_can_be_judged(config: RunConfig) -> None:
    """Raise UsageError for a model whose folds are not there before it is trained."""
    settings = config.model
    if settings.plan is not TrainingPlan.WHITENED_FIRST or settings.prior != "aggregated":
        raise UsageError(
            "drop_suspicious (--drop-suspicious) needs a frozen encoder with weights and the aggregated prior, as by "
            f"default: {config.model.variant} with these settings scores no photograph that it has not seen"
        )


@torch.inference_mode()
def _scores(model: Cavga, energies: Energies) -> NDArray[np.float64]:
    score = model.energy_of(energies).score
    assert score is not None
    found: NDArray[np.float64] = score.double().cpu().numpy()
    return found


def _batches(count: int) -> Sequence[slice]:
    return [slice(first, first + BATCH_SIZE) for first in range(0, count, BATCH_SIZE)]
