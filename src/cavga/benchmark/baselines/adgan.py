"""ADGAN, a baseline: a GAN whose z and whose generator are fitted to each image that is scored.

Deecke et al., "Image Anomaly Detection with Generative Adversarial Networks" (ECML PKDD 2018). From each of NUM_SEEDS
starts, NUM_STEPS of descent on the squared residual move z and a copy of the generator's weights together. The image's
score is the residual at the end, the mean over starts; the map is that of every pixel.

Chosen: the GAN is AnoGAN's here; few starts (the paper has dozens), the same for every image; a step moves z by STEP_Z
times the root of UNITS along the gradient, and a tensor of weights by STEP_WEIGHTS of its norm. **At test time** an
image costs NUM_SEEDS * NUM_STEPS passes forward and back through a generator of its own. So it cannot be exported.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, func
from torch.nn import functional

from cavga.benchmark.baselines.anogan import UNITS, GanNetwork, gan_players
from cavga.benchmark.baselines.networks import NetworkMethod, squared_residual, uniform
from cavga.shapes import Images, Scalar, ScoreMap

NUM_SEEDS, NUM_STEPS = 2, 5  # the paper's steps
STEP_Z, STEP_WEIGHTS = 0.1, 0.01


def _scores(network: GanNetwork, images: Images) -> tuple[ScoreMap, None]:
    starts = uniform((NUM_SEEDS, UNITS, 1, 1), torch.Generator().manual_seed(0)).to(images.device)
    return torch.stack([_fitted(network, images, start) for start in starts]).mean(dim=0), None


def _fitted(network: GanNetwork, images: Images, start: Tensor) -> ScoreMap:
    """The squared residual of every image once z and generator are fitted to it from a start."""
    buffers = dict(network.generator.named_buffers())

    def residual(weights: Mapping[str, Tensor], z: Tensor, image: Tensor) -> tuple[Scalar, Tensor]:
        logits = func.functional_call(network.generator, {**weights, **buffers}, (z[None],))
        found = squared_residual(image[None], logits.sigmoid())[0]
        return found.sum(), found

    gradients = func.vmap(func.grad(residual, argnums=(0, 1), has_aux=True))
    z = start.expand(len(images), UNITS, 1, 1)
    weights = {name: p.detach().expand(len(images), *p.shape) for name, p in network.generator.named_parameters()}
    with torch.no_grad():
        for _ in range(NUM_STEPS):
            (of_weights, of_z), _ = gradients(weights, z, images)
            z = z - STEP_Z * UNITS**0.5 * _direction(of_z)
            weights = {
                name: p - STEP_WEIGHTS * p.flatten(1).norm(dim=1).view(-1, *[1] * (p.dim() - 1)) * _direction(each)
                for (name, p), each in zip(weights.items(), of_weights.values(), strict=True)
            }
        return func.vmap(residual)(weights, z, images)[1]


def _direction(gradient: Tensor) -> Tensor:
    """A gradient of every image at length 1."""
    return functional.normalize(gradient.flatten(1), dim=1).view_as(gradient)


ADGAN = NetworkMethod("ADGAN", GanNetwork, gan_players, _scores, units=UNITS, is_searching=True)
