"""AE_SSIM, a baseline: AE_L2's autoencoder, trained and read with structural similarity.

Bergmann et al., "Improving Unsupervised Defect Segmentation by Applying Structural Similarity to Autoencoders"
(VISAPP 2019, arXiv 2018); SSIM is that of Wang et al., "Image Quality Assessment: From Error Visibility to Structural
Similarity" (IEEE Transactions on Image Processing 2004), in a Gaussian window of 11 x 11 px. The map is 1 - SSIM around
every pixel, the image's score its mean. The paper's images are grey; here it is the mean over the three colours.
"""

import torch

from cavga.benchmark.baselines.autoencoder import AutoencoderMethod, reconstructed
from cavga.model.blur import blurred
from cavga.model.cavga import Cavga
from cavga.shapes import Images, Scalar, ScoreMap

UNITS = 100  # the paper's
SIGMA, REACH = 1.5, 5  # px: Wang's window of 11 x 11
C1, C2 = 0.01**2, 0.03**2  # Wang's, for pixels in [0, 1]


def dissimilarity(model: Cavga, images: Images) -> ScoreMap:
    """1 - SSIM of image and reconstruction around every pixel, in [0, 2]."""
    return (1 - ssim(images, reconstructed(model, images))).mean(dim=1)


def _objective(model: Cavga, images: Images, _noise: torch.Generator) -> Scalar:
    return dissimilarity(model, images).mean()


def _scores(model: Cavga, images: Images) -> tuple[ScoreMap, None]:
    return dissimilarity(model, images), None


AE_SSIM = AutoencoderMethod("AE_SSIM", UNITS, is_variational=False, objective=_objective, scores=_scores)


def ssim(first: Images, second: Images) -> Images:
    """SSIM around every pixel of every colour, at most 1; beyond the border the border's pixels are repeated."""
    mean_1, mean_2 = _windowed(first), _windowed(second)
    variances = _windowed(first.square()) - mean_1.square() + _windowed(second.square()) - mean_2.square()
    covariance = _windowed(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + C1) / (mean_1.square() + mean_2.square() + C1)
    return luminance * (2 * covariance + C2) / (variances + C2)


def _windowed(images: Images) -> Images:
    return blurred(images.flatten(0, 1), sigma=SIGMA, reach=REACH).view_as(images)
