"""CAM, guided backpropagation and SmoothGrad: what a classifier of image labels looks at, as three baselines show it.

What the classifier is: cavga.benchmark.baselines.label_classifier. captum computes all three.
"""

import warnings
from typing import Any

import torch

from cavga.benchmark.baselines.label_classifier import LabelClassifier, strongest_colour
from cavga.shapes import Images, ScoreMap

NUM_SAMPLES, NOISE = 50, 0.15  # SmoothGrad's paper: more than 50 add little, 10 to 20 % look best
BATCH = 10  # copies at a time
SMALLEST = 1e-6  # an image of one grey has no range


def cam(attributions: Any, model: LabelClassifier, images: Images, _seed: int) -> ScoreMap:
    """CAM: the sum of w_k f_k at every place of the last features f, weighted by the unit that reads their means.

    Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR 2016). captum computes it as Grad-CAM
    (Selvaraju et al., ICCV 2017), which for such a network is CAM divided by the number of places.
    """
    weighted = attributions.LayerGradCam(model, model.last).attribute(images)[:, 0]
    return weighted * weighted.shape[1] * weighted.shape[2]


def guided_backprop(attributions: Any, model: LabelClassifier, images: Images, _seed: int) -> ScoreMap:
    """Guided backpropagation: the absolute guided gradient of every pixel, of the colour where it is largest.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net" (ICLR workshop 2015): the gradient of the
    logit at the image, of which every ReLU lets only positive parts pass on the way back.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks
        return strongest_colour(attributions.GuidedBackprop(model).attribute(images))


def smoothgrad(attributions: Any, model: LabelClassifier, images: Images, seed: int) -> ScoreMap:
    """SmoothGrad: the absolute mean gradient of every pixel of one image, of the colour where it is largest.

    Smilkov et al., "SmoothGrad: removing noise by adding noise" (arXiv 2017): NUM_SAMPLES copies with Gaussian noise of
    NOISE of the range of the image. The noise is the same for every image.
    """
    tunnel = attributions.NoiseTunnel(attributions.Saliency(model))
    devices = [images.device] if images.device.type == "cuda" else []
    std = NOISE * float(images.amax() - images.amin())
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        mean = tunnel.attribute(
            images, nt_type="smoothgrad", nt_samples=NUM_SAMPLES, nt_samples_batch_size=BATCH,
            stdevs=max(std, SMALLEST), abs=False,
        )  # fmt: skip
    return strongest_colour(mean)
