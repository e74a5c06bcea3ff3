"""Greedy choice of points that cover all of a set (k-center): for the mixture prior, and for the PatchCore control."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Points = Float[Tensor, "points features"]


def greedy_coreset(points: Points, num_kept: int, *, first: int) -> Int64[Tensor, " kept"]:
    """Indices that cover all points: after `first`, always the point farthest from those chosen (k-center)."""
    norms = points.square().sum(dim=1)
    chosen = torch.full((num_kept,), first, device=points.device)
    centres, centre_norms = points[chosen], norms[chosen]  # row i is right once i is chosen
    distances = _squared_distances(points, norms, points[first])  # to the nearest that is chosen
    nearest = torch.zeros(len(points), dtype=torch.int64, device=points.device)  # which that is
    for i in range(1, num_kept):
        distances[chosen[i - 1]] = -torch.inf  # never again, whatever rounding leaves
        chosen[i] = distances.argmax()
        centres[i], centre_norms[i] = points[chosen[i]], norms[chosen[i]]
        # The triangle inequality: a point that is nearer to its centre than half the way from there to
        # the new one keeps it. That leaves a twentieth of them to measure.
        between = _squared_distances(centres[:i], centre_norms[:i], centres[i])
        asked = (distances > between[nearest] / 4).nonzero()[:, 0]
        to_new = _squared_distances(points[asked], norms[asked], centres[i])
        is_closer = to_new < distances[asked]
        closer = asked[is_closer]
        distances[closer], nearest[closer] = to_new[is_closer], i
    return chosen


def _squared_distances(points: Points, norms: Float[Tensor, " points"], centre: Float[Tensor, " features"]) -> Tensor:
    return norms + centre.square().sum() - 2 * (points @ centre)
