"""CAM, a control: what a classifier of image labels looks at, as a map of its last features.

Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016): the last features, weighted by the
linear unit that reads their means. captum computes it as Grad-CAM (Selvaraju et al., ICCV 2017), which for such a
network is CAM divided by the number of places. What the classifier is: cavga.baselines.label_classifier.
"""

from typing import Any

from cavga.benchmark.baselines.label_classifier import LabelClassifier
from cavga.shapes import Images, ScoreMap


def cam(attributions: Any, model: LabelClassifier, images: Images, _seed: int) -> ScoreMap:
    """The sum of w_k f_k at every place of the last features f."""
    weighted = attributions.LayerGradCam(model, model.last).attribute(images)[:, 0]
    return weighted * weighted.shape[1] * weighted.shape[2]
