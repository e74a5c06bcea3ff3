"""ADVAE, a baseline: where the latent units of a VAE look.

Liu et al., "Towards Visually Explaining Variational Autoencoders" (CVPR 2020): a VAE of normal images, and Grad-CAM of
its latent units at an early layer of the encoder; high is anomalous. As in the authors' code the units' sum is
explained, the gradient is divided by its root mean square and the map is the absolute value; unlike there, each
image's gradient by its own, for a score must not depend on the batch. The image's score, which the paper has none of,
is that of any map here: the mean of its highest 1 %. Nothing in its training makes attention high on anomalies.
Scoring takes a backward pass, so it cannot be exported.
"""

import torch

from cavga.benchmark.baselines.autoencoder import AutoencoderMethod, evidence_terms
from cavga.inference.graph import enlarged, map_score
from cavga.model.cavga import Cavga
from cavga.shapes import Images, Scalar, ScoreMap, Scores

UNITS = 32  # the authors' code
STAGE = 2  # of the encoder: 128 channels at a quarter of the size, as in the authors' code
SMALLEST_NORM = 1e-5


def attention(model: Cavga, images: Images) -> ScoreMap:
    """|sum of w_c F_c| with w_c the mean gradient of the units' sum at channel c of the features F."""
    stages = model.encoder(images)
    features = stages[STAGE]
    units = model.mu_head([stages[number] for number in model.stages])
    (gradient,) = torch.autograd.grad(units.sum(), features)
    norm = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + SMALLEST_NORM
    weights = (gradient / norm).mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).abs().detach()


def _objective(model: Cavga, images: Images, noise: torch.Generator) -> Scalar:
    """Reconstruction of a sample, summed over pixels, plus KL; the mean of the images."""
    reconstruction, kl = evidence_terms(model, images, noise)
    return (reconstruction + kl).mean()


def _scores(model: Cavga, images: Images) -> tuple[ScoreMap, Scores]:
    """The anomaly attention, enlarged, and the mean of its highest 1 %."""
    # Inside the engine's inference mode nothing has a gradient; a clone made outside it has.
    with torch.inference_mode(False), torch.enable_grad():
        found = attention(model, images.clone())
    anomaly_map = enlarged(found, (images.shape[2], images.shape[3]))
    return anomaly_map, map_score(anomaly_map)


ADVAE = AutoencoderMethod("ADVAE", UNITS, is_variational=True, objective=_objective, scores=_scores)
