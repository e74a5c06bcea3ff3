"""Guided backpropagation, a control: which pixels raise a classifier's logit.

Springenberg et al., "Striving for Simplicity: The All Convolutional Net" (ICLR workshop 2015): the gradient of the
logit at the image, of which every ReLU lets only positive parts pass on the way back. What the classifier is:
cavga.baselines.label_classifier.
"""

import warnings
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


class GuidedBackpropGraph(ScoringGraph):
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
        """The absolute guided gradient of every pixel, of the colour where it is largest."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum says that it sets hooks
            return strongest_colour(self.attributions.GuidedBackprop(self.model).attribute(images))
