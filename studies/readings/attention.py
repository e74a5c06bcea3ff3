"""A of a reading: Grad-CAM of its scalar at its layer by a real double backward pass, brought to [0, 1]."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from cavga.attention import grad_cam
from cavga.losses import kl_divergence
from cavga.model.cavga import Cavga
from cavga.shapes import AttentionMap, Images, LatentMap, Scalar, ScoreMap
from studies.readings.readings import Reading

SMALLEST = 1e-6  # that a map is divided by


@dataclass(frozen=True)
class Pass:
    """One forward pass, with every map that attention can be taken at."""

    stages: dict[int, Tensor]
    mu: LatentMap
    logvar: LatentMap
    z: LatentMap
    logits: Images


def forward(model: Cavga, images: Images, noise: torch.Generator | None) -> Pass:
    """Encode, sample (with noise) or take the mean (without), decode."""
    stages = model.encoder(images)
    used = [stages[number] for number in model.stages]
    assert model.logvar_head is not None
    mu, logvar = model.mu_head(used), model.logvar_head(used)
    z = mu if noise is None else mu + (logvar / 2).exp() * torch.randn(mu.shape, generator=noise)
    return Pass(stages, mu, logvar, z, model.decoder(z))


def scalar_of(reading: Reading, found: Pass, images: Images) -> Scalar:
    """What is differentiated, summed over the images of the batch; at z as a function of z itself."""
    is_at_z = reading.layer == "z"
    match reading.scalar:
        case "sum of mu":
            return found.z.sum() if is_at_z else found.mu.sum()
        case "sum of z":
            return found.z.sum()
        case "energy" if is_at_z:
            return -found.z.square().sum() / 2
        case "energy":
            return -kl_divergence(found.mu, found.logvar) * found.mu.numel()
        case "-L_R":
            each = functional.binary_cross_entropy_with_logits(found.logits, images, reduction="none")
            return -each.mean(dim=(1, 2, 3)).sum()


def cam_of(reading: Reading, found: Pass, images: Images, depth: int) -> ScoreMap:
    """The map before it is brought to [0, 1]; `depth` is the last stage of the encoder, what layer3 stands for."""
    return grad_cam(scalar_of(reading, found, images), features_of(reading, found, depth))


def features_of(reading: Reading, found: Pass, depth: int) -> Tensor:
    """The maps that attention is taken at; layer3 is what mu is read from, of D too."""
    if reading.layer == "z":
        return found.z
    return found.stages[depth if reading.layer == "layer3" else int(reading.layer[-1])]


def to_unit(reading: Reading, cam: ScoreMap, *, channels: int, temperature: float) -> AttentionMap:
    """A in [0, 1]."""
    match reading.to_unit:
        case "sigmoid":
            return cam.sigmoid()
        case "channel mean":
            return (cam / channels).sigmoid()
        case "temperature":
            return (cam / temperature).sigmoid()
        case "min-max":
            low, high = cam.amin(dim=(1, 2), keepdim=True), cam.amax(dim=(1, 2), keepdim=True)
            return (cam - low) / (high - low).clamp_min(SMALLEST)
        case "ReLU, max":
            positive = cam.relu()
            return positive / positive.amax(dim=(1, 2), keepdim=True).clamp_min(SMALLEST)
