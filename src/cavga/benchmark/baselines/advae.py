"""ADVAE, a baseline: where the latent units of a VAE look.

Liu et al., "Towards Visually Explaining Variational Autoencoders" (CVPR 2020): a VAE of normal images, and Grad-CAM of
its latent units at an early layer of the encoder; high is anomalous. As in the authors' code the units' sum is
explained, the gradient is divided by its root mean square and the map is the absolute value; unlike there, each
image's gradient by its own, for a score must not depend on the batch. The image's score, which the paper has none of,
is that of any map here: the mean of its highest 1 %. Nothing in its training makes attention high on anomalies.
"""

from functools import partial

import torch
from numpy import uint8
from numpy.typing import NDArray

from cavga.benchmark.baselines.autoencoder import evidence_terms, make_autoencoder, output_of, train_network
from cavga.config.schema import RunConfig
from cavga.inference.graph import GraphOutput, ScoringGraph, enlarged, map_score
from cavga.shapes import Images, Scalar, ScoreMap

UNITS = 32  # the authors' code
STAGE = 2  # of the encoder: 128 channels at a quarter of the size, as in the authors' code
SMALLEST_NORM = 1e-5
untrained = partial(make_autoencoder, units=UNITS, is_variational=True)


class AdvaeGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both.

    Scoring takes a backward pass, so it cannot be exported.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.image_size)
        self.config = config
        self.model = untrained(config)

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all images, from the start."""
        self.model = untrained(self.config)
        train_network(self, self.objective, images, self.config.training, device)

    def objective(self, images: Images, noise: torch.Generator) -> Scalar:
        """Reconstruction of a sample, summed over pixels, plus KL; the mean of the images."""
        reconstruction, kl = evidence_terms(self.model, images, noise)
        return (reconstruction + kl).mean()

    def score_images(self, images: Images) -> GraphOutput:
        """The anomaly attention, enlarged, and the mean of its highest 1 %."""
        # Inside the engine's inference mode nothing has a gradient; a clone made outside it has.
        with torch.inference_mode(False), torch.enable_grad():
            attention = self.attention(images.clone())
        anomaly_map = enlarged(attention, self.image_size)
        return output_of(self, anomaly_map, map_score(anomaly_map))

    def attention(self, images: Images) -> ScoreMap:
        """|sum of w_c F_c| with w_c the mean gradient of the units' sum at channel c of the features F."""
        stages = self.model.encoder(images)
        features = stages[STAGE]
        units = self.model.mu_head([stages[number] for number in self.model.stages])
        (gradient,) = torch.autograd.grad(units.sum(), features)
        norm = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + SMALLEST_NORM
        weights = (gradient / norm).mean(dim=(2, 3), keepdim=True)
        return (weights * features).sum(dim=1).abs().detach()
