"""PaDiM on the features of our own encoder: the baseline that shows what is density and what is attention.

Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization"
(ICPR 2020 workshops): one Gaussian per position over a random choice of feature channels; the map is
the Mahalanobis distance, blurred, and its maximum is the image's score. A position is a patch of the latent,
on whose 3x3 means it reads the very features that the latent does; or, as in the paper, a place of the finest stage.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cavga.data.dataset import image_batches
from cavga.inference.graph import GraphOutput, ScoringGraph, enlarged
from cavga.model.blur import blurred
from cavga.model.cavga import Cavga
from cavga.model.latent import to_size
from cavga.shapes import FeatureMap, Images, ScoreMap

SIGMA = 4.0  # px, the papers'


def blurred_as_published(maps: ScoreMap) -> ScoreMap:
    """Maps under a Gaussian of SIGMA pixels, cut off at four of them."""
    return blurred(maps, sigma=SIGMA, reach=int(4 * SIGMA))


NUM_CHANNELS = 100  # the paper's choice for ResNet-18
RIDGE = 0.01  # the paper's, added to every covariance


class PadimGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, model: Cavga, *, image_size: tuple[int, int], seed: int, at_finest: bool = False) -> None:
        super().__init__(image_size)
        self.model, self.at_finest = model.eval(), at_finest
        num_features = sum(model.encoder.stage_channels[stage] for stage in model.stages)
        chosen = np.random.default_rng(seed).permutation(num_features)[:NUM_CHANNELS]
        self.chosen = torch.from_numpy(np.sort(chosen))
        self.mean = torch.zeros(0)
        self.precision = torch.zeros(0)

    @torch.no_grad()
    def fit(self, images: NDArray[np.uint8], device: torch.device) -> None:
        """Mean and inverse covariance at each position, over all training images."""
        features = torch.cat(list(self._features(images, device)))  # (images, channels, rows, columns)
        rows = features.permute(2, 3, 0, 1)  # (rows, columns, images, channels)
        self.mean = rows.mean(dim=2)
        centred = rows - self.mean[:, :, None]
        covariance = centred.mT @ centred / max(1, len(images) - 1)
        self.precision = torch.linalg.inv(covariance + RIDGE * torch.eye(covariance.shape[-1], device=device))

    def score_images(self, images: Images) -> GraphOutput:
        """The Mahalanobis map, and its maximum."""
        features = self._chosen(self.model.encode_stages(images)).permute(0, 2, 3, 1)
        offset = (features - self.mean)[..., None]
        squared = (offset.mT @ self.precision @ offset)[..., 0, 0]
        distance = squared.clamp_min(0).sqrt()
        anomaly_map = blurred_as_published(enlarged(distance, self.image_size))
        return GraphOutput(anomaly_map.flatten(1).amax(dim=1), anomaly_map, anomaly_map >= self.pixel_threshold)

    def _features(self, images: NDArray[np.uint8], device: torch.device) -> Iterator[FeatureMap]:
        for batch in image_batches(images, device):
            yield self._chosen(self.model.encode_stages(batch))

    def _chosen(self, stages: list[Tensor]) -> FeatureMap:
        if not self.at_finest:
            return self.model.mu_head.merged(stages)[:, self.chosen]
        size = max((stage.shape[2], stage.shape[3]) for stage in stages)
        return torch.cat([to_size(stage, size) for stage in stages], dim=1)[:, self.chosen]
