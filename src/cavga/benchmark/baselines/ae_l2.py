"""AE_L2, a baseline: a convolutional autoencoder, and what it fails to reconstruct.

Bergmann et al., "Improving Unsupervised Defect Segmentation by Applying Structural Similarity to Autoencoders"
(VISAPP 2019, arXiv 2018) and "MVTec AD" (CVPR 2019): z of 100 units, trained on the squared residual. The map is the
squared residual of every pixel, the image's score its mean.
"""

from functools import partial

import torch
from numpy import uint8
from numpy.typing import NDArray

from cavga.benchmark.baselines.autoencoder import make_autoencoder, output_of, reconstructed, train_network
from cavga.config.schema import RunConfig
from cavga.inference.graph import GraphOutput, ScoringGraph
from cavga.shapes import Images, Scalar, ScoreMap

UNITS = 100  # the paper's
untrained = partial(make_autoencoder, units=UNITS, is_variational=False)


class AeL2Graph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.image_size)
        self.config = config
        self.model = untrained(config)

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all images, from the start."""
        self.model = untrained(self.config)
        train_network(self, self.objective, images, self.config.training, device)

    def objective(self, images: Images, _noise: torch.Generator) -> Scalar:
        """The mean squared residual."""
        return self.residual(images).mean()

    def score_images(self, images: Images) -> GraphOutput:
        """The squared residual, and its mean."""
        return output_of(self, self.residual(images))

    def residual(self, images: Images) -> ScoreMap:
        """The squared residual of every pixel, mean of its colours."""
        reconstructions = reconstructed(self.model, images)
        return (images - reconstructions).square().mean(dim=1)
