"""The classifier C of the self-supervised variants: it says of every cell of z whether it was made anomalous."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cavga.model.prior import smoothed
from cavga.shapes import ClassLogits, LatentMap, ScoreMap

CONTEXT_CELLS = 4  # a side, averaged for what is around a cell
PATCH_HIDDEN = 128
DROPOUT = 0.3  # of the inputs, in training
PATCH_TOP_SHARE = 1 / 32  # of the cells, whose mean logit is the image's
MAP_WEIGHT = 0.5  # of C's map beside the prior's, both in deviations of normal images (docs/decisions/0012)


class CellClassifier(nn.Module):
    """A readout of 1x1 convolutions on z, on what is around each cell and on the mean of the image.

    Its map of logits is the class activation map of the anomalous class (Zhou et al. 2016): what it is
    averaged from. The logits of the classes are opposite, (-q/2, q/2), so that A^cn = 1 - A^ca.
    `scale` holds the mean and deviation of the smoothed map on normal images that C was not trained on, `unit` the
    deviation of each channel of z.
    """

    unit: Tensor
    scale: Tensor
    energy_scale: Tensor

    def __init__(self, *, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(latent_channels))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        # Of a prior whose energy is not in deviations by itself.
        self.register_buffer("energy_scale", torch.tensor([0.0, 1.0]))
        self.layers = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Conv2d(3 * latent_channels, PATCH_HIDDEN, 1),
            nn.BatchNorm2d(PATCH_HIDDEN),
            nn.ReLU(),
            nn.Conv2d(PATCH_HIDDEN, PATCH_HIDDEN, 1),
            nn.ReLU(),
            nn.Conv2d(PATCH_HIDDEN, 1, 1),
        )

    def cam(self, z: LatentMap) -> ScoreMap:
        """The logit of every cell, anomalous against normal."""
        return self.layers(with_context(z / self.unit.view(1, -1, 1, 1)))[:, 0]

    def forward(self, z: LatentMap) -> ClassLogits:
        """The logits of the image: those of its most anomalous cells."""
        q = top_mean(self.cam(z))
        return torch.stack([-q / 2, q / 2], dim=1)

    def anomaly_map(self, energy: ScoreMap, z: LatentMap) -> ScoreMap:
        """The energy plus a share of the map of logits, each in deviations of normal cells."""
        cells = (smoothed(self.cam(z)) - self.scale[0]) / self.scale[1]
        return (energy - self.energy_scale[0]) / self.energy_scale[1] + MAP_WEIGHT * cells


def with_context(z: LatentMap) -> Float[Tensor, "batch context rows columns"]:
    """z, its mean around each cell, and its mean over the image."""
    rows, columns = z.shape[2:]
    coarse = functional.avg_pool2d(z, min(CONTEXT_CELLS, rows, columns))
    coarse = functional.avg_pool2d(functional.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    around = functional.interpolate(coarse, size=(rows, columns), mode="bilinear", align_corners=False)
    return torch.cat([z, around, z.mean(dim=(2, 3), keepdim=True).expand_as(z)], dim=1)


def top_mean(cam: ScoreMap) -> Float[Tensor, " batch"]:
    """The mean of an image's PATCH_TOP_SHARE highest cells."""
    cells = cam.flatten(1)
    return cells.topk(max(1, round(PATCH_TOP_SHARE * cells.shape[1])), dim=1).values.mean(dim=1)
