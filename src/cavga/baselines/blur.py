"""The blur that PaDiM and PatchCore share."""

import torch
from torch.nn import functional

from cavga.shapes import ScoreMap

BLUR = 4.0  # px, the papers' sigma


def blurred(maps: ScoreMap) -> ScoreMap:
    """Maps under a Gaussian of BLUR pixels, cut off at four of them; borders repeated."""
    reach = int(4 * BLUR)
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = (-offsets.square() / (2 * BLUR**2)).exp()
    kernel = kernel / kernel.sum()
    padded = functional.pad(maps[:, None], (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]
