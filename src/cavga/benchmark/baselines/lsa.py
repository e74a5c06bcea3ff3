"""LSA, a baseline: an autoencoder, and how surprising its z is to a model that reads it unit by unit.

Abati et al., "Latent Space Autoregression for Novelty Detection" (CVPR 2019). z lies in (0, 1); an autoregressive
network of masked linear layers says in which of NUM_BINS parts each unit lies, from the units before it. Trained on the
squared residual plus the negative log likelihood of z, whose gradient reaches the encoder through what the estimator
sees. The map is the squared residual, which has a place; the likelihood has none.

Chosen: the image's score is the objective itself, where the paper adds both terms after scaling each by its range on
held-out normal images; fewer units and features than the paper's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import make_autoencoder
from cavga.benchmark.baselines.networks import NetworkMethod, Player, squared_residual
from cavga.config.schema import RunConfig
from cavga.shapes import Images, Scalar, ScoreMap, Scores

UNITS = 32
NUM_BINS = 100  # the paper's
WIDTH = 16  # features of every unit in the estimator


class MaskedLinear(nn.Module):
    """A linear layer whose features of a unit see those of units before it, and of itself unless `is_strict`."""

    mask: Tensor

    def __init__(self, num_in: int, num_out: int, *, is_strict: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(UNITS * num_in, UNITS * num_out)
        seen = torch.ones(UNITS, UNITS).tril(-1 if is_strict else 0)
        self.register_buffer("mask", seen.repeat_interleave(num_out, 0).repeat_interleave(num_in, 1))

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.linear.weight * self.mask, self.linear.bias)


class LsaNetwork(nn.Module):
    """Images -> residuals, and how unlikely their z is."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.autoencoder = make_autoencoder(config, units=UNITS, is_variational=False)
        self.estimator = nn.Sequential(
            MaskedLinear(1, WIDTH, is_strict=True),
            nn.LeakyReLU(0.2),
            MaskedLinear(WIDTH, WIDTH, is_strict=False),
            nn.LeakyReLU(0.2),
            MaskedLinear(WIDTH, NUM_BINS, is_strict=False),
        )

    def forward(self, images: Images) -> tuple[ScoreMap, Scores]:
        z = self.autoencoder.encode(images).mu.sigmoid()
        reconstructions = self.autoencoder.decoder(z).sigmoid()
        return squared_residual(images, reconstructions), self.surprise(z[:, :, 0, 0])

    def surprise(self, z: Tensor) -> Scores:
        """-log p(z) of each image, the sum over units."""
        logits = self.estimator(z).view(-1, UNITS, NUM_BINS)
        bins = (z.detach() * NUM_BINS).long().clamp(max=NUM_BINS - 1)
        return functional.cross_entropy(logits.mT, bins, reduction="none").sum(dim=1)


def _objective(network: LsaNetwork, images: Images) -> tuple[ScoreMap, Scores]:
    """The residual's map, and its sum plus the surprise of every image."""
    residual, surprise = network(images)
    return residual, residual.sum(dim=(1, 2)) + surprise


def _players(network: LsaNetwork) -> list[Player]:
    def loss(images: Images, _noise: torch.Generator) -> Scalar:
        return _objective(network, images)[1].mean()

    return [Player(network.parameters(), loss)]


LSA = NetworkMethod("LSA", LsaNetwork, _players, _objective)
