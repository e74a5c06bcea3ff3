"""TI, texture inspection, a baseline: a Gaussian mixture of small patches at every level of a pyramid.

Böttger and Ulrich, "Real-time texture error detection on textured surfaces with compressed sensing" (Pattern
Recognition and Image Analysis 2016). Grey patches of SIDE x SIDE px are projected at random to few numbers, and a
mixture says how likely each is; the map is the negative log likelihood, the mean over levels.

Chosen: NUM_LEVELS (the paper: four), NUM_PATCHES a level, NUM_GAUSSIANS and NUM_PROJECTED; levels are halved by means
of 2 x 2 px and repeated to the image's size; the image's score is the mean of the map's highest 1 %. Mixtures are
scikit-learn's.
"""

import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import output_of
from cavga.config.schema import RunConfig
from cavga.data.dataset import image_batches
from cavga.inference.graph import GraphOutput, ScoringGraph, map_score
from cavga.shapes import Images, ScoreMap

SIDE = 7  # the paper's
NUM_LEVELS = 3
NUM_GAUSSIANS = 5
NUM_PROJECTED = 16  # of 49 numbers a patch
NUM_PATCHES = 5000  # a level, drawn from all training images
RIDGE = 1e-4  # on every covariance


class TextureGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    projection: Tensor

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.input_size)
        self.seed = config.training.seed
        projection = torch.randn(SIDE * SIDE, NUM_PROJECTED, generator=torch.Generator().manual_seed(self.seed))
        self.register_buffer("projection", projection / SIDE)
        self.mixtures: list[object] = []

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """A mixture a level, of patches drawn from all training images."""
        from sklearn.mixture import GaussianMixture

        self.to(device)
        generator = torch.Generator().manual_seed(self.seed)
        kept: list[list[Tensor]] = [[] for _ in range(NUM_LEVELS)]
        for batch in image_batches(images, device):
            share = max(1, NUM_PATCHES * len(batch) // len(images))
            for level, patches in enumerate(self._levels(batch)):
                flat = patches.flatten(0, 2)
                kept[level].append(flat[torch.randperm(len(flat), generator=generator)[:share].to(device)].cpu())
        self.mixtures = [
            GaussianMixture(NUM_GAUSSIANS, reg_covar=RIDGE, random_state=self.seed).fit(torch.cat(each).numpy())
            for each in kept
        ]

    def score_images(self, images: Images) -> GraphOutput:
        levels = zip(self.mixtures, self._levels(images), strict=True)
        maps = [self._surprise(mixture, patches) for mixture, patches in levels]
        anomaly_map = torch.stack(maps).mean(dim=0)
        return output_of(self, anomaly_map, map_score(anomaly_map))

    def _levels(self, images: Images) -> list[Tensor]:
        """Projected patches round every pixel of every level: (batch, rows, columns, NUM_PROJECTED)."""
        grey, found = images.mean(dim=1, keepdim=True), []
        for _ in range(NUM_LEVELS):
            padded = functional.pad(grey, [SIDE // 2] * 4, mode="replicate")
            patches = functional.unfold(padded, SIDE).mT @ self.projection
            found.append(patches.reshape(len(grey), grey.shape[2], grey.shape[3], NUM_PROJECTED))
            grey = functional.avg_pool2d(grey, 2)
        return found

    def _surprise(self, mixture: object, patches: Tensor) -> ScoreMap:
        """-log p of every patch, repeated to the image's size."""
        likely = mixture.score_samples(patches.flatten(0, 2).cpu().numpy())  # type: ignore[attr-defined]
        found = -torch.from_numpy(likely).to(patches).view(patches.shape[:3])
        times = self.image_size[0] // found.shape[1], self.image_size[1] // found.shape[2]
        return found.repeat_interleave(times[0], 1).repeat_interleave(times[1], 2)
