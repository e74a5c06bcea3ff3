"""CAM, a control: what a classifier of image labels looks at, as a map of its last features.

Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016): the last features, weighted by the
linear unit that reads their means. captum computes it as Grad-CAM (Selvaraju et al., ICCV 2017), which for such a
network is CAM divided by the number of places. What the classifier is: cavga.baselines.label_classifier.
"""

from typing import Any

import torch
from numpy import uint8
from numpy.typing import NDArray

from cavga.baselines.label_classifier import LabelClassifier, captum_attributions, explained, fitted_classifier
from cavga.config import RunConfig
from cavga.inference import InferenceOutput, ScoringGraph
from cavga.shapes import Images, ScoreMap


class CamGraph(ScoringGraph):
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
        """The sum of w_k f_k at every place of the last features f."""
        weighted = self.attributions.LayerGradCam(self.model, self.model.last).attribute(images)[:, 0]
        return weighted * weighted.shape[1] * weighted.shape[2]
