"""A Gaussian blur of maps: one of patches for our own, one of pixels for the baselines."""

import torch
from torch.nn import functional

from cavga.shapes import ScoreMap


def blurred(maps: ScoreMap, *, sigma: float, reach: int) -> ScoreMap:
    """Maps under a Gaussian with a standard deviation of `sigma`, cut off beyond `reach`; borders repeated."""
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = (-offsets.square() / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    padded = functional.pad(maps[:, None], (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]
