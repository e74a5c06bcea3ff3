"""CapsNet PP and CapsNet RE, two baselines: capsules that agree on what is normal.

Li et al., "Exploring Deep Anomaly Detection Methods Based on Capsule Net" (ICML workshop 2019), on capsules as in
Sabour et al., "Dynamic Routing Between Capsules" (NIPS 2017). Two capsules, normal and anomalous, are made of primary
ones by routing; the length of each is a probability. Trained on good images alone by the margin loss (normal present,
anomalous absent) and by what is reconstructed from the normal capsule. PP scores an image by the difference of both
lengths, RE by the squared residual. The map of both is the squared residual.

Chosen: primary capsules are made of d-u's encoder to stage 3, reconstructions by its decoder; that PP has one normal
class to learn from, where nothing but the margin keeps the lengths apart, is Table 7's setting.
"""

import torch
from torch import Tensor, nn

from cavga.benchmark.baselines.autoencoder import make_autoencoder
from cavga.benchmark.baselines.networks import NetworkMethod, Player, per_image, squared_residual
from cavga.config.backbones import DCGAN_STAGES
from cavga.config.schema import RunConfig
from cavga.model.encoder import DcganEncoder
from cavga.shapes import Images, Scalar, ScoreMap, Scores

DEPTH = 3
PRIMARY, UNITS = 8, 16  # dimensions of a primary capsule and of a class's, Sabour's
NUM_ROUTINGS = 3  # Sabour's
PRESENT, ABSENT, ABSENT_WEIGHT = 0.9, 0.1, 0.5  # Sabour's margins
RECONSTRUCTION_WEIGHT = 5e-4  # Sabour's, of the squared residual's sum
SMALLEST = 1e-9


class CapsnetNetwork(nn.Module):
    """Images -> the two class capsules; the normal one -> a reconstruction."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.encoder = DcganEncoder(depth=DEPTH, frozen=False)
        rows, columns = (side // DCGAN_STAGES[DEPTH].stride for side in config.data.input_size)
        num_primary = self.encoder.stage_channels[DEPTH] // PRIMARY * rows * columns
        self.votes = nn.Parameter(torch.randn(num_primary, 2, UNITS, PRIMARY) * 0.1)
        self.decoder = make_autoencoder(config, units=UNITS, is_variational=False).decoder

    def forward(self, images: Images) -> Tensor:
        """Capsules of normal and anomalous: (batch, 2, UNITS)."""
        features = self.encoder(images)[DEPTH]
        primary = squashed(features.unflatten(1, (-1, PRIMARY)).movedim(2, -1).flatten(1, 3))
        votes = torch.einsum("ncud,bnd->bncu", self.votes, primary)
        agreement = votes.new_zeros(votes.shape[:3])
        for remaining in reversed(range(NUM_ROUTINGS)):
            capsules = squashed((agreement.softmax(dim=2)[..., None] * votes).sum(dim=1))
            if remaining:
                agreement = agreement + (votes * capsules[:, None]).sum(dim=3)
        return capsules

    def decode(self, capsule: Tensor) -> Images:
        return self.decoder(capsule).sigmoid()


def squashed(vectors: Tensor) -> Tensor:
    """Vectors (last dimension) at a length between 0 and 1 that grows with theirs."""
    squares = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * squares.add(SMALLEST).sqrt() / (1 + squares)


def _lengths_and_residual(network: CapsnetNetwork, images: Images) -> tuple[Tensor, ScoreMap]:
    capsules = network(images)
    residual = squared_residual(images, network.decode(capsules[:, 0, :, None, None]))
    return capsules.square().sum(dim=2).add(SMALLEST).sqrt(), residual


def _players(network: CapsnetNetwork) -> list[Player]:
    def loss(images: Images, _noise: torch.Generator) -> Scalar:
        lengths, residual = _lengths_and_residual(network, images)
        present = (PRESENT - lengths[:, 0]).relu().square()
        absent = (lengths[:, 1] - ABSENT).relu().square()
        return (present + ABSENT_WEIGHT * absent).mean() + RECONSTRUCTION_WEIGHT * per_image(residual)

    return [Player(network.parameters(), loss)]


def _by_prediction(network: CapsnetNetwork, images: Images) -> tuple[ScoreMap, Scores]:
    lengths, residual = _lengths_and_residual(network, images)
    return residual, lengths[:, 1] - lengths[:, 0]


def _by_reconstruction(network: CapsnetNetwork, images: Images) -> tuple[ScoreMap, None]:
    return _lengths_and_residual(network, images)[1], None


CAPSNET_PP = NetworkMethod("CapsNet PP", CapsnetNetwork, _players, _by_prediction, units=UNITS)
CAPSNET_RE = NetworkMethod("CapsNet RE", CapsnetNetwork, _players, _by_reconstruction, units=UNITS)
