"""OCGAN, a baseline: a denoising autoencoder every z of which is to give a normal image.

Perera et al., "OCGAN: One-class Novelty Detection Using GANs with Constrained Latent Representations" (CVPR 2019). z is
bounded by tanh. A critic of z makes the encoder fill that cube evenly, a critic of images makes what is decoded look
normal, and a classifier of reconstructions against decoded noise says from which z that fails: informative negatives
are found by descending on it, and the decoder has to make those look normal too. The map is the squared residual, the
image's score its mean.

Chosen: critics and networks are d-u's; WEIGHT of the mean squared residual is ten times the paper's, for few steps;
NUM_STEPS of STEP on z, along the gradient's direction.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import make_autoencoder
from cavga.benchmark.baselines.networks import Critic, NetworkMethod, Player, squared_residual, told_apart, uniform
from cavga.config.schema import RunConfig
from cavga.shapes import Images, Scalar, ScoreMap

UNITS = 64
NOISE = 0.2  # standard deviation of what is added to images
WEIGHT = 100.0
NUM_STEPS, STEP = 3, 0.5


class OcganNetwork(nn.Module):
    """The autoencoder, the critics of z and of images, and the classifier."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.autoencoder = make_autoencoder(config, units=UNITS, is_variational=False)
        self.of_z = nn.Sequential(nn.Linear(UNITS, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        self.of_images, self.classifier = Critic(), Critic()

    def encode(self, images: Images) -> Tensor:
        return self.autoencoder.encode(images).mu.tanh()

    def decode(self, z: Tensor) -> Images:
        return self.autoencoder.decoder(z).sigmoid()

    def negatives(self, z: Tensor) -> Tensor:
        """From z where the classifier takes the image less for a reconstruction: informative negatives."""
        for _ in range(NUM_STEPS):
            moved = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.classifier(self.decode(moved)).sum(), moved)
            z = (moved - STEP * functional.normalize(gradient.flatten(1), dim=1).view_as(z)).clamp(-1, 1)
        return z.detach()


def _players(network: OcganNetwork) -> list[Player]:
    def noisy(images: Images, noise: torch.Generator) -> Images:
        return images + NOISE * torch.randn(images.shape, generator=noise, device=images.device)

    def drawn(images: Images, noise: torch.Generator) -> Tensor:
        return uniform((len(images), UNITS, 1, 1), noise)

    def classified(images: Images, noise: torch.Generator) -> Scalar:
        with torch.no_grad():
            rebuilt, made = network.decode(network.encode(noisy(images, noise))), network.decode(drawn(images, noise))
        return told_apart(network.classifier(rebuilt), network.classifier(made))

    def criticised(images: Images, noise: torch.Generator) -> Scalar:
        z = drawn(images, noise)
        with torch.no_grad():
            made, encoded = network.decode(z), network.encode(noisy(images, noise))
        of_z = told_apart(network.of_z(z.flatten(1))[:, 0], network.of_z(encoded.flatten(1))[:, 0])
        return of_z + told_apart(network.of_images(images), network.of_images(made))

    def rebuilt(images: Images, noise: torch.Generator) -> Scalar:
        z = network.encode(noisy(images, noise))
        residual = squared_residual(images, network.decode(z)).mean()
        made = network.decode(network.negatives(drawn(images, noise)))
        fooled = functional.softplus(-network.of_z(z.flatten(1))).mean()
        return WEIGHT * residual + fooled + functional.softplus(-network.of_images(made)).mean()

    critics = [*network.of_z.parameters(), *network.of_images.parameters()]
    return [
        Player(network.classifier.parameters(), classified),
        Player(critics, criticised),
        Player(network.autoencoder.parameters(), rebuilt),
    ]


def _scores(network: OcganNetwork, images: Images) -> tuple[ScoreMap, None]:
    return squared_residual(images, network.decode(network.encode(images))), None


OCGAN = NetworkMethod("OCGAN", OcganNetwork, _players, _scores)
