"""Scales of a patch for `study.py`: what an energy is counted in, by how far a patch is from the border."""

from collections.abc import Callable

import torch
from torch import Tensor

from cavga.model.blur import blurred
from cavga.model.prior import BORDER

Scaling = Callable[[Tensor, Tensor], Tensor]  # (values, values of normal images) -> values in their standard deviations


def all_alike(values: Tensor, normal: Tensor) -> Tensor:
    """One mean and standard deviation for all patches."""
    return (values - normal.mean()) / normal.std()


def every_position(values: Tensor, normal: Tensor) -> Tensor:
    """Mean and standard deviation of each position, smoothed by one patch."""
    mean = blurred(normal.mean(dim=0)[None], sigma=1.0, reach=3)[0]
    variance = blurred((normal - normal.mean(dim=0)).square().mean(dim=0)[None], sigma=1.0, reach=3)[0]
    return (values - mean) / variance.sqrt()


def by_border(
    *, border: int = BORDER, corners: bool = False, mean_alone: bool = False, larger_alone: bool = True
) -> Scaling:
    """Mean and standard deviation of patches as far from the border; with `corners`, from its two nearest sides."""

    def scaled(values: Tensor, normal: Tensor) -> Tensor:
        rings = _rings(normal.shape[1], border, corners)
        inner = normal[:, rings == rings.max()]
        means, deviations = (torch.full(rings.shape, float(value)) for value in (inner.mean(), inner.std()))
        for k in rings.unique():
            ring = normal[:, rings == k]
            low = inner if larger_alone else ring
            means[rings == k] = torch.maximum(ring.mean(), low.mean())
            if not mean_alone:
                deviations[rings == k] = torch.maximum(ring.std(), low.std())
        return (values - means) / deviations

    return scaled


def _rings(side: int, border: int, corners: bool) -> Tensor:
    """A number for each group of patches, the inner ones the highest."""
    one = torch.arange(side)
    distance = torch.minimum(one, side - 1 - one).clamp_max(border)
    nearer, farther = torch.minimum(distance[:, None], distance), torch.maximum(distance[:, None], distance)
    return nearer * (border + 1) + farther if corners else nearer


SCALINGS: dict[str, Scaling] = {
    "distance from the border, larger ones alone": by_border(),
    "all cells alike": all_alike,
    "the mean alone": by_border(mean_alone=True),
    "smaller ones too": by_border(larger_alone=False),
    "corners apart": by_border(corners=True),
    "border of 2 cells": by_border(border=2),
    "border of 8 cells": by_border(border=8),
    "every position for itself": every_position,
}
