"""gamma-VAE_g, a baseline: what gradient descent changes of an image to bring it to the manifold of a VAE.

Dehaene et al., "Iterative Energy-based Projection on a Normal Data Manifold for Anomaly Localization" (ICLR 2020), on a
VAE whose decoder has a learnt variance (Dai and Wipf, "Diagnosing and Enhancing VAE Models", ICLR 2019). From x_0, the
image, x descends on E(x) = |x - f(x)|^2 / (2 gamma^2) + lambda |x - x_0|_1, each pixel's step times its squared
residual. The map is |x_T - x_0|, the image's score, which the paper has none of, its mean.

gamma^2 is set to its optimum, the mean squared error of the batch, at every step of the training. The paper descends
for up to hundreds of steps; here there are NUM_STEPS, and one that would raise the energy is halved instead.
"""

from functools import partial

import torch
from jaxtyping import Float
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor

from cavga.benchmark.baselines.autoencoder import kl_of, make_autoencoder, output_of, reconstructed, train_network
from cavga.config.schema import RunConfig
from cavga.inference.graph import GraphOutput, ScoringGraph
from cavga.shapes import Images, Scalar, Scores

UNITS = 100
STEP = 0.5  # alpha, the paper's
CHANGE_WEIGHT = 0.05  # lambda, the paper's
NUM_STEPS = 3  # what a processor can do: a forward and a backward pass each, for every image that is scored
VARIANCE_MOMENTUM = 0.05
SMALLEST_VARIANCE = 1e-6
untrained = partial(make_autoencoder, units=UNITS, is_variational=True)


class GammaVaeGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both.

    Scoring takes backward passes, so it cannot be exported.
    """

    variance: Tensor

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.input_size)
        self.config = config
        self.model = untrained(config)
        self.register_buffer("variance", torch.ones(()))  # gamma^2

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all images, from the start."""
        self.model = untrained(self.config)
        self.variance.fill_(1.0)
        train_network(self, self.objective, images, self.config.training, device, name="gamma-VAE_g")
        self.model.requires_grad_(False)  # from here on gradients are those of images

    def objective(self, images: Images, noise: torch.Generator) -> Scalar:
        """-log p(x|z) of a Gaussian with the variance that suits the batch best, summed over pixels, plus KL."""
        output = self.model(images, noise)
        error = (images - output.reconstruction_logits.sigmoid()).square().mean() + SMALLEST_VARIANCE
        self.variance.lerp_(error.detach(), VARIANCE_MOMENTUM)
        num_pixels = images.shape[2] * images.shape[3]
        return 0.5 * num_pixels * error.log() + kl_of(output.latent).mean()

    def score_images(self, images: Images) -> GraphOutput:
        """What the projection changes of every pixel, and its mean."""
        # Inside the engine's inference mode nothing has a gradient; a clone made outside it has.
        with torch.inference_mode(False), torch.enable_grad():
            original = images.clone()
            projected = self.project(original)
        return output_of(self, (projected - original).abs().mean(dim=1))

    def project(self, images: Images) -> Images:
        """x_T of every image, in [0, 1]; its energy is at most that of the image."""
        current, (energy, direction) = images, self._descent(images, images)
        step = images.new_full((len(images), 1, 1, 1), STEP)
        for remaining in reversed(range(NUM_STEPS)):
            following = (current - step * direction).clamp(0, 1)
            # After the last step there is nowhere to go: no backward pass.
            new_energy, new_direction = (
                self._descent(following, images) if remaining else (self.energy(following, images)[0], direction)
            )
            is_lower = (new_energy < energy)[:, None, None, None]
            current = torch.where(is_lower, following, current)
            direction = torch.where(is_lower, new_direction, direction)
            energy = torch.minimum(new_energy, energy)
            step = torch.where(is_lower, step, step / 2)
        return current

    def energy(self, images: Images, originals: Images) -> tuple[Scores, Float[Tensor, "batch 3 height width"]]:
        """E of images that started as `originals`, summed over pixels, and their residuals."""
        residual = images - reconstructed(self.model, images)
        squared = residual.square().mean(dim=1).sum(dim=(1, 2)) / (2 * self.variance)
        change = (images - originals).abs().mean(dim=1).sum(dim=(1, 2))
        return squared + CHANGE_WEIGHT * change, residual

    def _descent(self, images: Images, originals: Images) -> tuple[Scores, Images]:
        """E, and its gradient times the squared residual."""
        moved = images.detach().requires_grad_()
        energy, residual = self.energy(moved, originals)
        (gradient,) = torch.autograd.grad(energy.sum(), moved)
        return energy.detach(), gradient * residual.detach().square()
