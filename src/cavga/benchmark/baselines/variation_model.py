"""VM, the variation model, a baseline: mean and standard deviation of every pixel of aligned images.

Steger et al., "Machine Vision Algorithms and Applications" (Wiley, 2nd edition 2018), as HALCON has it. The map is the
absolute difference of an image's grey from the mean, in standard deviations.

Chosen: images are taken as aligned as they are, where the paper's are aligned by a shape model first; a deviation is at
least SMALLEST_DEVIATION; the image's score, which it has none of, is that of any map here: the mean of its highest 1 %.
"""

import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor

from cavga.benchmark.baselines.autoencoder import output_of
from cavga.config.schema import RunConfig
from cavga.data.dataset import image_batches
from cavga.inference.graph import GraphOutput, ScoringGraph, map_score
from cavga.shapes import Images

SMALLEST_DEVIATION = 5 / 255  # below it noise of a camera counts


class VariationGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.input_size)
        self.register_buffer("mean", torch.zeros(config.data.input_size))
        self.register_buffer("deviation", torch.ones(config.data.input_size))

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Mean and standard deviation of every pixel, over all training images."""
        self.to(device)
        sums, squares = torch.zeros(2, *self.image_size, dtype=torch.float64, device=device)
        for batch in image_batches(images, device):
            grey = batch.mean(dim=1).double()
            sums += grey.sum(dim=0)
            squares += grey.square().sum(dim=0)
        mean = sums / len(images)
        self.mean = mean.float()
        self.deviation = (squares / len(images) - mean.square()).clamp_min(0).sqrt().float()

    def score_images(self, images: Images) -> GraphOutput:
        difference = (images.mean(dim=1) - self.mean).abs()
        anomaly_map = difference / self.deviation.clamp_min(SMALLEST_DEVIATION)
        return output_of(self, anomaly_map, map_score(anomaly_map))
