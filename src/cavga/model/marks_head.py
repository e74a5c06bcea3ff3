"""What photographs that a person marked as bad add to an image's score: a direction on features of z.

Each readout is a vector of an image; marked and normal images are told apart along one direction of it. The head adds
what an image has along that direction to the energy's score (docs/decisions/0027).
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cavga.shapes import LatentMap, ScoreMap, Scores

NUM_TOP = 16  # patches of most energy, whose mean z is looked at
SOFTNESS = 0.1  # standard deviations of energy below the last of those, within which patches still count
SMALLEST_DEVIATION = 1e-3  # of a channel of z over an image, whose logarithm is taken

Features = Float[Tensor, "batch features"]


def pooled(mu: LatentMap, _energy: ScoreMap) -> Features:
    """Mean and log standard deviation of every channel of z over the image."""
    patches = mu.flatten(2)
    mean = patches.mean(dim=2)
    deviation = (patches - mean[:, :, None]).square().mean(dim=2).sqrt()
    return torch.cat([mean, deviation.clamp_min(SMALLEST_DEVIATION).log()], dim=1)


def top_patches(mu: LatentMap, energy: ScoreMap) -> Features:
    """The mean z of the patches of most energy."""
    patches, energies = mu.flatten(2), energy.flatten(1)
    lowest = energies.topk(min(NUM_TOP, energies.shape[1]), dim=1).values[:, -1:]
    # No hard choice: where energies are equal, runtimes would choose other patches.
    weights = ((energies - lowest) / SOFTNESS).sigmoid()
    return torch.einsum("bkp,bp->bk", patches, weights) / weights.sum(dim=1, keepdim=True)


READOUTS: Mapping[str, Callable[[LatentMap, ScoreMap], Features]] = {"pooled": pooled, "top_patches": top_patches}


class MarksHead(nn.Module):
    """A readout, the direction on it and an offset; both hold the head's weight, so that what it gives is added.

    The buffer of the direction has the readout's name.
    """

    offset: Tensor

    def __init__(self, readout: str, num_features: int) -> None:
        super().__init__()
        self.readout = readout
        self.register_buffer(readout, torch.zeros(num_features))
        self.register_buffer("offset", torch.zeros(()))

    @classmethod
    def shaped_like(cls, tensors: Mapping[str, Tensor], prefix: str) -> "MarksHead | None":
        """A head with room for the tensors of a saved one, whose names start with `prefix`; None without one."""
        found = [name for name in READOUTS if f"{prefix}{name}" in tensors]
        return cls(found[0], len(tensors[f"{prefix}{found[0]}"])) if found else None

    @property
    def direction(self) -> Float[Tensor, " features"]:
        """Per unit of each feature, what is added to the score."""
        found: Tensor = self.get_buffer(self.readout)
        return found

    def forward(self, score: Scores, mu: LatentMap, energy: ScoreMap) -> Scores:
        """The energy's score and what the readout adds; `energy` is the local one, in standard deviations."""
        return score + READOUTS[self.readout](mu, energy) @ self.direction + self.offset
