"""AVID, a baseline: an inpainter that removes what is irregular, and a detector of regions that sees whether it did.

Sabokrou et al., "AVID: Adversarial Visual Irregularity Detection" (ACCV 2018). The inpainter gets noisy images and is
to give clean ones that the detector, fully convolutional, takes for real; the detector learns real images against
inpainted ones. At test time both work together: the residual of every pixel says what the inpainter would change, and
the detector which regions are irregular.

Chosen: the inpainter is d-u's autoencoder with a map-shaped z; the map is the squared residual times the detector's
probability that the region is not real; the image's score is its mean; WEIGHT of the mean squared residual; noise of
NOISE.
"""

import torch
from torch import nn
from torch.nn import functional

from cavga.benchmark.baselines.networks import Critic, NetworkMethod, Player, squared_residual, told_apart
from cavga.config.presets import make_config
from cavga.config.schema import RunConfig
from cavga.model.build import build
from cavga.shapes import Images, Scalar, ScoreMap

CHANNELS = 64  # of z
DETECTOR_DEPTH = 3  # a logit for 8 x 8 px
NOISE = 0.2  # standard deviation
WEIGHT = 100.0


class AvidNetwork(nn.Module):
    """The inpainter and the detector."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        size = {"data": {"image_size": config.data.input_size}}
        model = {"variant": "d-u", "latent_channels": CHANNELS, "decoder_width": config.model.decoder_width}
        self.autoencoder = build(make_config("paper", size, {"model": model}).model, image_size=config.data.input_size)
        self.autoencoder.logvar_head = None
        self.detector = Critic(depth=DETECTOR_DEPTH)

    def inpaint(self, images: Images) -> Images:
        return self.autoencoder.decoder(self.autoencoder.encode(images).mu).sigmoid()


def _players(network: AvidNetwork) -> list[Player]:
    def inpainted(images: Images, noise: torch.Generator) -> Images:
        return network.inpaint(images + NOISE * torch.randn(images.shape, generator=noise, device=images.device))

    def detected(images: Images, noise: torch.Generator) -> Scalar:
        made = inpainted(images, noise).detach()
        return told_apart(network.detector.places(images), network.detector.places(made))

    def repaired(images: Images, noise: torch.Generator) -> Scalar:
        made = inpainted(images, noise)
        fooled = functional.softplus(-network.detector.places(made)).mean()
        return WEIGHT * squared_residual(images, made).mean() + fooled

    return [Player(network.detector.parameters(), detected), Player(network.autoencoder.parameters(), repaired)]


def _scores(network: AvidNetwork, images: Images) -> tuple[ScoreMap, None]:
    is_made = (-network.detector.places(images)).sigmoid()
    residual = squared_residual(images, network.inpaint(images))
    # Repeated, not interpolated: a region has one probability.
    sides = [size // regions for size, regions in zip(residual.shape[1:], is_made.shape[1:], strict=True)]
    return residual * is_made.repeat_interleave(sides[0], 1).repeat_interleave(sides[1], 2), None


AVID = NetworkMethod("AVID", AvidNetwork, _players, _scores)
