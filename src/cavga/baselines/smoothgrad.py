"""SmoothGrad, a control: the gradient of a classifier's logit at the image, averaged over noisy copies of it.

Smilkov et al., "SmoothGrad: removing noise by adding noise" (arXiv 2017): NUM_SAMPLES copies with Gaussian noise of
NOISE of the range of the image. The noise is the same for every image. What the classifier is:
cavga.baselines.label_classifier.
"""

from typing import Any

import torch
from numpy import uint8
from numpy.typing import NDArray

from cavga.baselines.label_classifier import (
    LabelClassifier,
    captum_attributions,
    explained,
    fitted_classifier,
    strongest_colour,
)
from cavga.config import RunConfig
from cavga.inference import InferenceOutput, ScoringGraph
from cavga.shapes import Images, ScoreMap

NUM_SAMPLES, NOISE = 50, 0.15  # the paper's: more than 50 add little, 10 to 20 % look best
BATCH = 10  # copies at a time
SMALLEST = 1e-6  # an image of one grey has no range


class SmoothGradGraph(ScoringGraph):
    """Scores images as `cavga.inference.InferenceGraph` does, so that the same harness measures both.

    Scoring takes backward passes, so it cannot be exported. Raises MissingExtraError without captum.
    """

    def __init__(self, config: RunConfig, anomalous: NDArray[uint8]) -> None:
        super().__init__(config.data.image_size)
        self.attributions: Any = captum_attributions()
        self.config, self.anomalous = config, anomalous
        self.model = LabelClassifier(config)

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all normal images and the labelled anomalous ones, from the start."""
        self.model = fitted_classifier(self.config, images, self.anomalous, device)

    def score_images(self, images: Images) -> InferenceOutput:
        """The probability of anomalous, and the saliency."""
        return explained(self, self.model, images, self.saliency)

    def saliency(self, images: Images) -> ScoreMap:
        """The absolute mean gradient of every pixel of one image, of the colour where it is largest."""
        tunnel = self.attributions.NoiseTunnel(self.attributions.Saliency(self.model))
        devices = [images.device] if images.device.type == "cuda" else []
        deviation = NOISE * float(images.amax() - images.amin())
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.config.training.seed)
            mean = tunnel.attribute(
                images, nt_type="smoothgrad", nt_samples=NUM_SAMPLES, nt_samples_batch_size=BATCH,
                stdevs=max(deviation, SMALLEST), abs=False,
            )  # fmt: skip
        return strongest_colour(mean)
