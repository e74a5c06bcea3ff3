"""The classifier of a whitened latent, fitted to a handful of labelled bad images.

Once the latent is fixed, Eq. 6 falls into two problems: L and L_adv depend on the decoder alone, L_bce and
L_cga on the classifier alone. The second is a small convex-like one, solved here by L-BFGS in seconds, with
an image's label as the only supervision (docs/decisions/0008).
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cavga.config.schema import LossConfig
from cavga.data.dataset import TrainingImages, image_batches
from cavga.images.decode import BATCH_SIZE
from cavga.inference.graph import energy_score
from cavga.losses import classification_loss, complementary_guided_attention_loss
from cavga.model.cavga import Cavga, Energy
from cavga.model.classifiers import LOG_FLOOR, EnergyClassifier, class_score
from cavga.shapes import LatentMap, ScoreMap

# Both are in units of the features' mean variance on normal images. A few bad images say little about a
# direction: the covariance is shrunk towards a sphere, and the weights towards 0.
SHRINKAGE, DECAY = 10.0, 10.0
MAX_STEPS = 30
NUM_GUIDED = 64  # normal images that L_cga looks at: it is a mean over them, and their maps are held in memory
SMALLEST_STD = 1e-4  # on normal images; what varies less says nothing and is left out

logger = logging.getLogger("cavga")


def fit_classifier(model: Cavga, images: TrainingImages, loss: LossConfig, *, device: torch.device) -> None:
    """Fit the model's EnergyClassifier to normal and labelled bad images; the latent stays as it is."""
    model.eval()
    classifier = EnergyClassifier(latent_channels=model.mu_head.num_channels).to(device)
    normal, anomalous = (
        torch.cat([classifier.features(energies) for energies in _energies(model, part, device)])
        for part in (images.normal, images.anomalous)
    )
    classifier.centre.copy_(normal.mean(dim=0))
    classifier.reference.copy_(_between(normal.exp().mean(dim=0), anomalous.exp().mean(dim=0)) - LOG_FLOOR)
    model.classifier = classifier
    chosen = np.linspace(0, len(images.normal) - 1, min(NUM_GUIDED, len(images.normal))).round().astype(np.intp)
    guided = _guided(model, images.normal[chosen], device)
    weights = images.class_weights(loss.class_balance)
    # L_cga needs the scale of the map, which needs a classifier: first without it, then with it.
    for guided_weight in (0.0, loss.guided_attention_weight):
        _minimise(classifier, normal, anomalous, guided, (loss.classification_weight, guided_weight), weights)
        _set_scales(model, classifier, images.normal, device)


def _between(first: Tensor, second: Tensor) -> Tensor:
    """The logarithmic mean: where the logarithm has the slope that it has from one to the other on average."""
    ratio = second / first
    is_same = (ratio - 1).abs() < SMALLEST_STD
    return torch.where(is_same, first, first * (ratio - 1) / torch.where(is_same, 1, ratio.log()))


@torch.no_grad()
def _guided(model: Cavga, images: NDArray[np.uint8], device: torch.device) -> tuple[ScoreMap, LatentMap]:
    """What C's map of these images is made of: the energy of every patch, and the energies of its channels."""
    latents = torch.cat([model.encode(batch).mu for batch in image_batches(images, device)])
    patches = torch.cat([model.energy(mu).patches for mu in latents.split(BATCH_SIZE)])  # type: ignore[no-untyped-call]
    return patches, model.energies(latents)


def _minimise(
    classifier: EnergyClassifier,
    normal: Float[Tensor, "normals features"],
    anomalous: Float[Tensor, "anomalies features"],
    guided: tuple[ScoreMap, LatentMap],
    loss_weights: tuple[float, float],
    class_weights: tuple[float, float],
) -> None:
    """Weights and bias that minimise w_c L_bce + w_cga L_cga and a decay, from the normal images' covariance."""
    varies = normal.std(dim=0, correction=0) >= SMALLEST_STD
    basis = _sphering(normal - classifier.centre) * varies[:, None]
    features = (torch.cat([normal, anomalous]) - classifier.centre) @ basis
    labels = (torch.arange(len(features), device=features.device) >= len(normal)).long()
    free = torch.zeros(basis.shape[1] + 1, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=MAX_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        direction, bias = free[:-1], free[-1]
        q = features @ direction + bias
        class_logits = torch.stack([-q / 2, q / 2], dim=1)
        total = loss_weights[0] * classification_loss(class_logits, labels, class_weights=class_weights)
        total = total + DECAY / 2 * direction.square().sum()
        if loss_weights[1]:
            classifier.weight, classifier.bias = basis @ direction, bias
            maps = classifier.anomalous_attention(*guided)
            guided_labels = torch.zeros(len(maps), dtype=torch.int64, device=maps.device)
            guidance = complementary_guided_attention_loss(1 - maps, maps, classifier(guided[1]), guided_labels)
            total = total + loss_weights[1] * guidance
        total.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch's own signature
    classifier.weight, classifier.bias = (basis @ free[:-1]).detach(), free[-1].detach().clone()


def _sphering(centred: Float[Tensor, "normals features"]) -> Float[Tensor, "features features"]:
    """Coordinates in which the normal images' features are spread alike, their covariance shrunk."""
    covariance = (centred.T @ centred / len(centred)).double()
    mean_variance = covariance.diagonal().mean().clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * (values.clamp_min(0) + SHRINKAGE * mean_variance).rsqrt()).float()


@torch.no_grad()
def _set_scales(model: Cavga, classifier: EnergyClassifier, images: NDArray[np.uint8], device: torch.device) -> None:
    """Mean and standard deviation of both scores and of both maps on the normal training images."""
    scores: list[Float[Tensor, "2 _"]] = []
    size = (images.shape[1], images.shape[2])
    count, total, squares = 0, torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for energies in _energies(model, images, device):
        energy = energies.mean(dim=1)
        maps = torch.stack([energy, classifier.cam(energies)]).double().cpu().flatten(1)
        count, total, squares = count + maps.shape[1], total + maps.sum(dim=1), squares + maps.square().sum(dim=1)
        scores.append(torch.stack([energy_score(Energy(energy, None), size), class_score(classifier(energies))]))
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    classifier.cell_scale.copy_(_with_prior(model, torch.stack([mean, or_left_out(std)], dim=1)))
    joined = torch.cat(scores, dim=1)
    spread = joined.std(dim=1, correction=0)
    classifier.image_scale.copy_(_with_prior(model, torch.stack([joined.mean(dim=1), or_left_out(spread)], dim=1)))
    if spread[1] < SMALLEST_STD:
        logger.warning("the classifier tells nothing apart: its score is left out, the energy's alone counts")


def _with_prior(model: Cavga, scale: Float[Tensor, "2 2"]) -> Float[Tensor, "2 2"]:
    """The scale with the energy's row left alone: that of an aggregated prior is in standard deviations already."""
    unit = torch.tensor([[0.0, 1.0]], device=scale.device)
    return scale if model.prior is None else torch.cat([unit, scale[1:]])


def or_left_out(std: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """The standard deviation to divide by; infinite, so that nothing is left, where it is but rounding."""
    return torch.where(std < SMALLEST_STD, torch.inf, std)


def _energies(model: Cavga, images: NDArray[np.uint8], device: torch.device) -> Iterator[LatentMap]:
    for batch in image_batches(images, device):
        with torch.no_grad():
            energies = model.energies(model.encode(batch).mu)
        yield energies
