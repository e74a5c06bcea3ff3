"""SmoothGrad, a control: the gradient of a classifier's logit at the image, averaged over noisy copies of it.

Smilkov et al., "SmoothGrad: removing noise by adding noise" (arXiv 2017): NUM_SAMPLES copies with Gaussian noise of
NOISE of the range of the image. The noise is the same for every image. What the classifier is:
cavga.baselines.label_classifier.
"""

from typing import Any

import torch

from cavga.benchmark.baselines.label_classifier import LabelClassifier, strongest_colour
from cavga.shapes import Images, ScoreMap

NUM_SAMPLES, NOISE = 50, 0.15  # the paper's: more than 50 add little, 10 to 20 % look best
BATCH = 10  # copies at a time
SMALLEST = 1e-6  # an image of one grey has no range


def smoothgrad(attributions: Any, model: LabelClassifier, images: Images, seed: int) -> ScoreMap:
    """The absolute mean gradient of every pixel of one image, of the colour where it is largest."""
    tunnel = attributions.NoiseTunnel(attributions.Saliency(model))
    devices = [images.device] if images.device.type == "cuda" else []
    deviation = NOISE * float(images.amax() - images.amin())
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        mean = tunnel.attribute(
            images, nt_type="smoothgrad", nt_samples=NUM_SAMPLES, nt_samples_batch_size=BATCH,
            stdevs=max(deviation, SMALLEST), abs=False,
        )  # fmt: skip
    return strongest_colour(mean)
