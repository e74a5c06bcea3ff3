"""The classifier C that is trained with its encoder: it says of every cell of z whether it was made anomalous."""

import torch
from torch import Tensor, nn

from cavga.model.cell_classifier import top_mean
from cavga.shapes import ClassLogits, LatentMap, ScoreMap

END_TO_END_HIDDEN = 64
FIRST_LOGIT = -2.0  # most cells are normal: without it the first steps learn only that


class RegionClassifier(nn.Module):
    """Two 3x3 convolutions on z and a 1x1, whose map of logits is the class activation map of the anomalous class.

    As with `CellClassifier` the logits of the classes are opposite, (-q/2, q/2), so that A^cn = 1 - A^ca; but z is
    not given to it, it learns what z is to be.
    """

    def __init__(self, *, latent_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(latent_channels),
            nn.ReLU(),
            *_convolution(latent_channels, END_TO_END_HIDDEN),
            *_convolution(END_TO_END_HIDDEN, END_TO_END_HIDDEN),
        )
        self.readout = nn.Conv2d(END_TO_END_HIDDEN, 1, 1)
        assert self.readout.bias is not None
        nn.init.constant_(self.readout.bias, FIRST_LOGIT)

    def cam(self, z: LatentMap) -> ScoreMap:
        """The logit of every cell, anomalous against normal."""
        cells: Tensor = self.readout(self.layers(z))
        return cells[:, 0]

    def forward(self, z: LatentMap) -> ClassLogits:
        """The logits of the image: those of its most anomalous cells."""
        return image_logits(self.cam(z))


def image_logits(cam: ScoreMap) -> ClassLogits:
    """The logits of both classes from the map of cells."""
    q = top_mean(cam)
    return torch.stack([-q / 2, q / 2], dim=1)


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]
