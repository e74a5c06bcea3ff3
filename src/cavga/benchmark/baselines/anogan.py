"""AnoGAN, a baseline: a GAN of normal images, and what its generator cannot make of an image.

Schlegl et al., "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery" (IPMI
2017). For each image that is scored z is searched by gradient descent on (1 - FEATURE_WEIGHT) |x - G(z)| +
FEATURE_WEIGHT |f(x) - f(G(z))|, sums of pixels and of the discriminator's features f. That loss at the end is the
image's score, the absolute residual the map.

Chosen: networks are d-u's, z in the cube of DC-GAN; NUM_STEPS where the paper has 500, with Adam, from z = 0, so that
no score is drawn by lot. **At test time** an image costs NUM_STEPS passes forward and back through generator and
discriminator, about 2 * NUM_STEPS times what an autoencoder costs. So it cannot be exported.
"""

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import make_autoencoder
from cavga.benchmark.baselines.networks import Critic, NetworkMethod, Player, told_apart, uniform
from cavga.config.schema import RunConfig
from cavga.shapes import Images, Scalar, ScoreMap, Scores

UNITS = 64
NUM_STEPS, RATE = 40, 0.1  # of the search
FEATURE_WEIGHT = 0.1  # the paper's


class GanNetwork(nn.Module):
    """A generator and a critic of images."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.generator = make_autoencoder(config, units=UNITS, is_variational=False).decoder
        self.critic = Critic()

    def decode(self, z: Tensor) -> Images:
        return self.generator(z).sigmoid()


def gan_players(network: GanNetwork) -> list[Player]:
    """The critic, then the generator, with the loss that does not saturate."""

    def made(images: Images, noise: torch.Generator) -> Images:
        return network.decode(uniform((len(images), UNITS, 1, 1), noise))

    def criticised(images: Images, noise: torch.Generator) -> Scalar:
        return told_apart(network.critic(images), network.critic(made(images, noise).detach()))

    def fooled(images: Images, noise: torch.Generator) -> Scalar:
        return functional.softplus(-network.critic(made(images, noise))).mean()

    return [Player(network.critic.parameters(), criticised), Player(network.generator.parameters(), fooled)]


def _loss(network: GanNetwork, images: Images, z: Tensor) -> tuple[ScoreMap, Scores]:
    """The absolute residual's map, and the loss of every image."""
    found = network.decode(z)
    residual = (images - found).abs().mean(dim=1)
    features = (network.critic.features(images) - network.critic.features(found)).abs().sum(dim=(1, 2, 3))
    return residual, (1 - FEATURE_WEIGHT) * residual.sum(dim=(1, 2)) + FEATURE_WEIGHT * features


def _scores(network: GanNetwork, images: Images) -> tuple[ScoreMap, Scores]:
    network.requires_grad_(False)  # only z moves
    z = images.new_zeros(len(images), UNITS, 1, 1, requires_grad=True)
    optimizer = optim.Adam([z], lr=RATE)
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        _loss(network, images, z)[1].sum().backward()  # type: ignore[no-untyped-call]  # torch's own signature
        optimizer.step()
    with torch.no_grad():
        return _loss(network, images, z)


ANOGAN = NetworkMethod("AnoGAN", GanNetwork, gan_players, _scores, units=UNITS, is_searching=True)
