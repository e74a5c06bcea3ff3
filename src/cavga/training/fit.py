"""All that is fitted and not trained: the latent, its prior and, in a w or s variant, the classifier."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cavga.config.schema import RunConfig
from cavga.data.dataset import TrainingImages, image_batches
from cavga.model.cavga import Cavga
from cavga.progress import SILENT, Progress
from cavga.training.fit_classifier import fit_classifier
from cavga.training.fit_guided_head import choose_left_out, fit_guided_head
from cavga.training.fit_latent import fit_latent, fit_prior_variance
from cavga.training.fit_prior import CrossFitEnergies, Folds, fit_aggregated_prior

NUM_FOLDS = 5


@torch.no_grad()
def fit_decoder_statistics(model: Cavga, images: NDArray[np.uint8], *, device: torch.device) -> None:
    """Set the decoder's batch norm to what it sees at test: mu of normal images, where the training saw samples of z.

    The residual decodes mu. The spread of samples in its place would leave the reconstruction flat.
    """
    model.eval()
    norms = [module for module in model.decoder.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
        norm.train()
    for batch in image_batches(images, device):
        model.decoder(model.encode(batch).mu)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def fit_whitened(model: Cavga, images: TrainingImages, config: RunConfig, *, device: torch.device) -> None:
    """Fit the latent and what stands on it."""
    fit_latent(model, images.normal, config.model, device=device)
    num_units = int(images.unit_of.max()) + 1
    order = np.random.default_rng(config.training.seed).permutation(num_units)
    drawn = np.array_split(order, min(NUM_FOLDS, num_units))
    parts = [np.flatnonzero(np.isin(images.unit_of, part)).tolist() for part in drawn]
    measured = fit_prior(model, images, config, parts, device=device)
    fit_classes(model, images, config, measured, device=device)


def fit_classes(
    model: Cavga,
    images: TrainingImages,
    config: RunConfig,
    measured: CrossFitEnergies | None,
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> None:
    """Fit the classifier of an s or w variant to a latent that is set; `measured` is what `fit_prior` gave."""
    if config.model.supervision == "w":
        progress.begin("classifier")
        fit_classifier(model, images, config.loss, device=device)
    if config.model.supervision == "s":
        is_left_out, seed = unseen_by_guided_head(images, config, measured), config.training.seed
        fit_guided_head(model, images, is_left_out, seed=seed, device=device, progress=progress)


def unseen_by_guided_head(
    images: TrainingImages, config: RunConfig, measured: CrossFitEnergies | None
) -> NDArray[np.bool_]:
    """Which normal images an s variant's guided head does not see: some of those that an aggregated prior measured."""
    among = None if measured is None else measured.images
    return choose_left_out(images.num_normal, config.training.seed, photographs=images.unit_of, measured=among)


def fit_prior(
    model: Cavga,
    images: TrainingImages,
    config: RunConfig,
    parts: Folds,
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> CrossFitEnergies | None:
    """Fit the prior of a latent that is set, on the normal images; N(0, I) is left as it is.

    `parts` cuts those into folds. What an aggregated prior measures on them comes back.
    """
    # The classifier of a whitened latent reads energies in units of their means, whatever the prior.
    has_classifier = config.model.supervision == "w" and config.model.plan.is_whitened
    if config.model.prior == "by_position" or has_classifier:
        fit_prior_variance(model, images.normal, device=device)
    if config.model.prior == "aggregated":
        return fit_aggregated_prior(model, images, parts, seed=config.training.seed, device=device, progress=progress)
    return None
