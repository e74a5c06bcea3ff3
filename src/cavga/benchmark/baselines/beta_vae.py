"""beta-VAE, a baseline: a variational autoencoder whose KL weighs beta.

Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework" (ICLR 2017), which
is no anomaly detector. As one it is read as others read it: the image's score is what it minimises, reconstruction
plus beta KL at the mean of q(z|x); the map is the reconstruction's part of every pixel, for KL has no place.
"""

import torch

from cavga.benchmark.baselines.autoencoder import AutoencoderMethod, bernoulli_map, evidence_terms, kl_of
from cavga.model.cavga import Cavga
from cavga.shapes import Images, Scalar, ScoreMap, Scores

UNITS = 32  # the paper's for faces
BETA = 4.0  # the smallest that the paper recommends; against a reconstruction that is a sum over pixels


def _objective(model: Cavga, images: Images, noise: torch.Generator) -> Scalar:
    """Reconstruction of a sample, summed over pixels, plus beta KL, summed over units; the mean of the images."""
    reconstruction, kl = evidence_terms(model, images, noise)
    return (reconstruction + BETA * kl).mean()


def _scores(model: Cavga, images: Images) -> tuple[ScoreMap, Scores]:
    """The reconstruction's term of every pixel, and the objective of the image."""
    latent = model.encode(images)
    anomaly_map = bernoulli_map(model.decoder(latent.mu), images)
    return anomaly_map, anomaly_map.sum(dim=(1, 2)) + BETA * kl_of(latent)


BETA_VAE = AutoencoderMethod("beta-VAE", UNITS, is_variational=True, objective=_objective, scores=_scores)
