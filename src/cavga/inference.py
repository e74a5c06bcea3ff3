"""The one truth of inference: photographs -> score, anomaly map and mask, without a backward pass.

Evaluation, prediction and calibration all go through `InferenceGraph`; what is measured is what is deployed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cavga.data.dataset import resize
from cavga.model.cavga import Cavga
from cavga.shapes import Images, Masks, Photographs, ScoreMap, Scores

TOP_SHARE = 0.01  # of the map's pixels, whose mean is the image's score (docs/decisions/0006)


@dataclass(frozen=True)
class InferenceOutput:
    """Raw scores and maps at the model's input size, higher is more anomalous; masks at the pixel threshold."""

    score: Scores
    anomaly_map: ScoreMap
    mask: Masks


class ScoringGraph(nn.Module, ABC):
    """What a detector needs: an input size, two thresholds, and scores of images of that size."""

    image_threshold: Tensor
    pixel_threshold: Tensor

    def __init__(self, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.image_size = image_size
        self.register_buffer("image_threshold", torch.tensor(torch.inf))
        self.register_buffer("pixel_threshold", torch.tensor(torch.inf))

    @abstractmethod
    def score_images(self, images: Images) -> InferenceOutput:
        """Scores, maps and masks of images in [0, 1] that are already at the input size."""


class InferenceGraph(ScoringGraph):
    """A trained model with its thresholds, in eval mode."""

    def __init__(self, model: Cavga, *, image_size: tuple[int, int], image_score: str) -> None:
        super().__init__(image_size)
        self.model, self.image_score = model.eval(), image_score

    def forward(self, photographs: Photographs) -> InferenceOutput:
        """Photographs of one size, of any size."""
        return self.score_images(resize(photographs, self.image_size))

    def score_images(self, images: Images) -> InferenceOutput:
        """As `forward`, for images that are already at the model's input size."""
        mu, _ = self.model.encode(images)
        cells = self.model.anomaly_map(mu)
        anomaly_map = functional.interpolate(
            cells[:, None], size=self.image_size, mode="bilinear", align_corners=False
        )[:, 0]
        if self.image_score == "residual":
            score = residual_score(images, self.model.decoder(mu).sigmoid())
        else:
            score = map_score(anomaly_map)
        return InferenceOutput(score, anomaly_map, anomaly_map >= self.pixel_threshold)


def map_score(anomaly_map: ScoreMap) -> Scores:
    """The mean of the map's highest 1 %."""
    pixels = anomaly_map.flatten(1)
    return pixels.topk(max(1, round(TOP_SHARE * pixels.shape[1])), dim=1).values.mean(dim=1)


def residual_score(images: Images, reconstructions: Images) -> Scores:
    """s_a of the paper: the pixel-wise difference of image and reconstruction, as the mean absolute one."""
    return (images - reconstructions).abs().mean(dim=(1, 2, 3))
