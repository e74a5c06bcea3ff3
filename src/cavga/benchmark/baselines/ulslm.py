"""ULSLM, a baseline: an indicator of the normal set and a comparator of values, each taught by the other.

Wolf et al., "Unsupervised Learning of the Set of Local Maxima" (ICLR 2019). Normal images are taken for the local
maxima of an unknown value: near one, what is of the set is worth less. The indicator c says whether an image is of the
set, the comparator h which of two images is worth more. Two networks make images near a normal one: G_c such that h
holds them worth more, so c has to refuse them; G_h such that c accepts them, so h has to hold them worth less. The
image's score is -c.

Chosen: h(a, b) is the difference of one network's values, so h(a, b) = -h(b, a); G_c and G_h are d-u's autoencoders,
kept near by WEIGHT of the mean absolute change; the map is -c of every place of its last stage, enlarged.
"""

import torch
from torch import nn
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import make_autoencoder, reconstructed
from cavga.benchmark.baselines.networks import Critic, NetworkMethod, Player, told_apart
from cavga.config.schema import RunConfig
from cavga.inference.graph import enlarged
from cavga.model.cavga import Cavga
from cavga.shapes import Images, Scalar, ScoreMap, Scores

UNITS = 64  # of the generators' z
WEIGHT = 10.0


class UlslmNetwork(nn.Module):
    """c, the values that h compares, and the generators G_c and G_h."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.indicator, self.value = Critic(), Critic()
        self.against_c = make_autoencoder(config, units=UNITS, is_variational=False)
        self.against_h = make_autoencoder(config, units=UNITS, is_variational=False)

    def higher(self, images: Images, others: Images) -> Scores:
        """h: the logit that an image is worth more than the other."""
        return self.value(images) - self.value(others)


def _players(network: UlslmNetwork) -> list[Player]:
    def indicated(images: Images, _noise: torch.Generator) -> Scalar:
        # In one batch: apart, batch norm would take away what they differ in.
        both = torch.cat([images, reconstructed(network.against_c, images).detach()])
        real, made = network.indicator(both).chunk(2)
        return told_apart(real, made)

    def compared(images: Images, _noise: torch.Generator) -> Scalar:
        return functional.softplus(network.higher(reconstructed(network.against_h, images), images)).mean()

    def made_by(generator: Cavga, images: Images) -> Scalar:
        """Of both generators: accepted by c, worth more by h, and near."""
        made = reconstructed(generator, images)
        accepted = functional.softplus(-network.indicator(made)).mean()
        worth = functional.softplus(-network.higher(made, images)).mean()
        return accepted + worth + WEIGHT * (made - images).abs().mean()

    def generated(images: Images, _noise: torch.Generator) -> Scalar:
        return made_by(network.against_c, images) + made_by(network.against_h, images)

    return [
        Player(network.indicator.parameters(), indicated),
        Player(network.value.parameters(), compared),
        Player([*network.against_c.parameters(), *network.against_h.parameters()], generated),
    ]


def _scores(network: UlslmNetwork, images: Images) -> tuple[ScoreMap, Scores]:
    places = -network.indicator.places(images)
    return enlarged(places, (images.shape[2], images.shape[3])), places.mean(dim=(1, 2))


ULSLM = NetworkMethod("ULSLM", UlslmNetwork, _players, _scores)
