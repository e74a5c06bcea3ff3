"""AE_L2, a baseline: a convolutional autoencoder, and what it fails to reconstruct.

Bergmann et al., "Improving Unsupervised Defect Segmentation by Applying Structural Similarity to Autoencoders"
(VISAPP 2019, arXiv 2018) and "MVTec AD" (CVPR 2019): z of 100 units, trained on the squared residual. The map is the
squared residual of every pixel, the image's score its mean.
"""

import torch

from cavga.benchmark.baselines.autoencoder import AutoencoderMethod, reconstructed
from cavga.model.cavga import Cavga
from cavga.shapes import Images, Scalar, ScoreMap

UNITS = 100  # the paper's


def residual(model: Cavga, images: Images) -> ScoreMap:
    """The squared residual of every pixel, mean of its colours."""
    return (images - reconstructed(model, images)).square().mean(dim=1)


def _objective(model: Cavga, images: Images, _noise: torch.Generator) -> Scalar:
    return residual(model, images).mean()


def _scores(model: Cavga, images: Images) -> tuple[ScoreMap, None]:
    return residual(model, images), None


AE_L2 = AutoencoderMethod("AE_L2", UNITS, is_variational=False, objective=_objective, scores=_scores)
