"""MemAE, a baseline: an autoencoder whose z is read from a memory of what is normal.

Gong et al., "Memorizing Normality to Detect Anomaly: Memory-augmented Deep Autoencoder for Unsupervised Anomaly
Detection" (ICCV 2019). z asks a memory of NUM_ITEMS for items that are like it (softmax of the cosine); addresses below
1 / NUM_ITEMS are cut to zero, the rest sum to 1, and the decoder sees their mean. Trained on the squared residual and
the entropy of addresses. The map is the squared residual, the image's score its mean.

Chosen: z is one vector of UNITS, so an image asks once; the networks are d-u's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import make_autoencoder
from cavga.benchmark.baselines.networks import NetworkMethod, Player, per_image, squared_residual
from cavga.config.schema import RunConfig
from cavga.shapes import Images, Scalar, ScoreMap

UNITS = 64
NUM_ITEMS = 100  # the paper's for MNIST
ENTROPY_WEIGHT = 2e-4  # the paper's
SMALLEST = 1e-12  # of a sum that is divided by, and of a logarithm


class MemaeNetwork(nn.Module):
    """Images -> reconstructions by way of the memory, and the addresses."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.autoencoder = make_autoencoder(config, units=UNITS, is_variational=False)
        self.memory = nn.Parameter(torch.randn(NUM_ITEMS, UNITS) / UNITS**0.5)

    def forward(self, images: Images) -> tuple[Images, Tensor]:
        addresses = self.addresses(self.autoencoder.encode(images).mu[:, :, 0, 0])
        return self.decode((addresses @ self.memory)[:, :, None, None]), addresses

    def addresses(self, z: Tensor) -> Tensor:
        """How much of every item each z is made of: (batch, NUM_ITEMS), most of them 0."""
        likeness = functional.normalize(z, dim=1) @ functional.normalize(self.memory, dim=1).T
        shares = likeness.softmax(dim=1)
        above = shares - 1 / NUM_ITEMS
        kept = above.relu() * shares / (above.abs() + SMALLEST)  # hard shrinkage that has a gradient
        return kept / (kept.sum(dim=1, keepdim=True) + SMALLEST)

    def decode(self, z: Tensor) -> Images:
        return self.autoencoder.decoder(z).sigmoid()


def _players(network: MemaeNetwork) -> list[Player]:
    def loss(images: Images, _noise: torch.Generator) -> Scalar:
        reconstructions, addresses = network(images)
        entropy = -(addresses * (addresses + SMALLEST).log()).sum(dim=1).mean()
        return per_image(squared_residual(images, reconstructions)) + ENTROPY_WEIGHT * entropy

    return [Player(network.parameters(), loss)]


def _scores(network: MemaeNetwork, images: Images) -> tuple[ScoreMap, None]:
    return squared_residual(images, network(images)[0]), None


MEMAE = NetworkMethod("MemAE", MemaeNetwork, _players, _scores)
