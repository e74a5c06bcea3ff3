"""The linear factor model of the flattened z, and that of all images but some, without starting again.

Mean and principal directions follow from the products of the images with one another (their Gram matrix), or, where
there are more images than units, from those of the units. Leaving images out takes rows and columns from the one and
sums from the other: no product is computed again, and twenty models cost little more than one.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cavga.model.prior import SMALLEST_STD

EXPLAINED = 0.99  # share of the flattened z's variance that its directions explain
ROUNDING = 1e-10  # of the largest variance: below it float64 leaves a direction nothing but rounding

FactorModel = tuple[Float[Tensor, " units"], Float[Tensor, "_ units"]]  # mean and directions


class LeaveOutFactors:
    """Factor models of the flattened z of all images but some."""

    def __init__(self, flat: Float[Tensor, "images units"]) -> None:
        self._middle = flat.double().mean(dim=0)
        self._rows = flat.double() - self._middle  # about 0, where products lose least
        self._is_wide = self._rows.shape[0] <= self._rows.shape[1]
        self._products = self._rows @ self._rows.T if self._is_wide else self._rows.T @ self._rows

    def without(self, is_left_out: Bool[Tensor, " images"]) -> FactorModel:
        """Mean, and the principal directions that explain EXPLAINED of the variance, of the other images."""
        kept = self._rows[~is_left_out]
        offset = kept.mean(dim=0)
        if self._is_wide:
            products = self._products[~is_left_out][:, ~is_left_out]
            products = products - products.mean(dim=0) - products.mean(dim=1, keepdim=True) + products.mean()
        else:
            gone = self._rows[is_left_out]
            products = self._products - gone.T @ gone - len(kept) * torch.outer(offset, offset)
        values, vectors = torch.linalg.eigh(products)  # ascending
        vectors = vectors.flip(1)[:, : _num_kept(values.flip(0))]
        if not self._is_wide:
            return (self._middle + offset).float(), vectors.T.float()
        directions = ((kept - offset).T @ vectors).T
        return (self._middle + offset).float(), (directions / directions.norm(dim=1, keepdim=True)).float()


def factors(flat: Float[Tensor, "images units"]) -> FactorModel:
    """Mean, and the principal directions that explain EXPLAINED of the variance, of all images."""
    return LeaveOutFactors(flat).without(torch.zeros(len(flat), dtype=torch.bool, device=flat.device))


def _num_kept(variances: Float[Tensor, " directions"]) -> int:
    """How many of the directions, by falling variance, are kept."""
    shares = variances.cumsum(dim=0) / variances.sum().clamp_min(SMALLEST_STD)
    is_real = variances > (ROUNDING * variances[0]).clamp_min(SMALLEST_STD**2)
    return min(int((shares < EXPLAINED).sum()) + 1, int(is_real.sum()))
