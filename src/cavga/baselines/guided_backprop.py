"""Guided backpropagation, a control: which pixels raise a classifier's logit.

Springenberg et al., "Striving for Simplicity: The All Convolutional Net" (ICLR workshop 2015): the gradient of the
logit at the image, of which every ReLU lets only positive parts pass on the way back. What the classifier is:
cavga.baselines.label_classifier.
"""

import warnings
from typing import Any

from cavga.benchmark.baselines.label_classifier import LabelClassifier, strongest_colour
from cavga.shapes import Images, ScoreMap


def guided_backprop(attributions: Any, model: LabelClassifier, images: Images, _seed: int) -> ScoreMap:
    """The absolute guided gradient of every pixel, of the colour where it is largest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        return strongest_colour(attributions.GuidedBackprop(model).attribute(images))
