"""Greedy choice of points that cover all of a set (k-center): for the mixture prior, and for the PatchCore baseline."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cavga.progress import SILENT, Progress

POOL_SIZE = 4096  # of the farthest points, among which the next ones are chosen
CHUNK = 32768  # points whose distances to the new ones are computed at once

Points = Float[Tensor, "points features"]
Squares = Float[Tensor, " points"]


def greedy_coreset(points: Points, num_kept: int, *, first: int, progress: Progress = SILENT) -> Int64[Tensor, " kept"]:
    """Indices that cover all points: after `first`, always the point farthest from those chosen (k-center).

    Distances only fall as points are chosen. So while the farthest of a pool is still as far as the nearest
    of the pool was when it was drawn, it is the farthest of all: the choice is the plain one's, and all points
    are passed over once a pool instead of once a choice. `progress` advances by 1 in all.
    """
    norms = points.square().sum(dim=1)
    distances = torch.full_like(norms, torch.inf)  # squared, to the nearest that is chosen
    new = torch.tensor([first], device=points.device)
    chosen = [new]
    num_left = num_kept - 1
    while num_left > 0:
        _approach(distances, points, norms, new)
        distances[torch.cat(chosen)] = -torch.inf  # never again, whatever rounding leaves
        farthest, pool = distances.topk(min(POOL_SIZE, len(points)))
        bound = farthest[-1] if len(pool) < len(points) else farthest.new_tensor(-torch.inf)
        new = pool[_choose(points[pool], norms[pool], farthest, num_left, bound)]
        chosen.append(new)
        num_left -= len(new)
        progress.advance(len(new) / num_kept)
    return torch.cat(chosen)


def _approach(distances: Squares, points: Points, norms: Squares, new: Int64[Tensor, " new"]) -> None:
    """Lower the distances, in place, to those from the nearest of the new points."""
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        to_new = torch.addmm(norms[new][None], points[part], points[new].T, alpha=-2).amin(dim=1) + norms[part]
        torch.minimum(distances[part], to_new, out=distances[part])


def _choose(pool: Points, norms: Squares, distances: Squares, num_wanted: int, bound: Tensor) -> Int64[Tensor, " new"]:
    """The farthest of the pool, one after the other, as long as none outside of it can be farther."""
    new: list[int] = []
    distances = distances.clone()
    while len(new) < num_wanted:
        farthest = int(distances.argmax())
        if new and distances[farthest] < bound:
            break
        new.append(farthest)
        to_new = torch.addmv(norms + norms[farthest], pool, pool[farthest], alpha=-2)
        distances = torch.minimum(distances, to_new)
        distances[farthest] = -torch.inf
    return torch.tensor(new, device=pool.device)
