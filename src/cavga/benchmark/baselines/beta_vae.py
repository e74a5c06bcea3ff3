"""beta-VAE, a baseline: a variational autoencoder whose KL weighs beta.

Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework" (ICLR 2017), which
is no anomaly detector. As one it is read as others read it: the image's score is what it minimises, reconstruction
plus beta KL at the mean of q(z|x); the map is the reconstruction's part of every pixel, for KL has no place.
"""

from functools import partial

import torch
from numpy import uint8
from numpy.typing import NDArray

from cavga.benchmark.baselines.autoencoder import (
    bernoulli_map,
    evidence_terms,
    kl_of,
    make_autoencoder,
    output_of,
    train_network,
)
from cavga.config.schema import RunConfig
from cavga.inference.graph import GraphOutput, ScoringGraph
from cavga.shapes import Images, Scalar

UNITS = 32  # the paper's for faces
BETA = 4.0  # the smallest that the paper recommends; against a reconstruction that is a sum over pixels
untrained = partial(make_autoencoder, units=UNITS, is_variational=True)


class BetaVaeGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.image_size)
        self.config = config
        self.model = untrained(config)

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all images, from the start."""
        self.model = untrained(self.config)
        train_network(self, self.objective, images, self.config.training, device)

    def objective(self, images: Images, noise: torch.Generator) -> Scalar:
        """Reconstruction of a sample, summed over pixels, plus beta KL, summed over units; the mean of the images."""
        reconstruction, kl = evidence_terms(self.model, images, noise)
        return (reconstruction + BETA * kl).mean()

    def score_images(self, images: Images) -> GraphOutput:
        """The reconstruction's term of every pixel, and the objective of the image."""
        latent = self.model.encode(images)
        anomaly_map = bernoulli_map(self.model.decoder(latent.mu), images)
        return output_of(self, anomaly_map, anomaly_map.sum(dim=(1, 2)) + BETA * kl_of(latent))
