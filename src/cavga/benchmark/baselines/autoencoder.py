"""What baselines with a network of their own share: an autoencoder of d-u's parts, its training and its terms.

Encoder and decoder are DC-GAN's, as in d-u, so that no baseline has more or less to learn with; z is a vector, as in
the papers of these baselines. A baseline is an `AutoencoderMethod` in a file of its own: what it minimises, and what it
says of images.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from numpy import intp, uint8
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional

from cavga.config.presets import make_config
from cavga.config.schema import RunConfig, TrainingConfig
from cavga.data.dataset import epoch_batches, image_batch
from cavga.errors import TrainingError
from cavga.inference.graph import GraphOutput, ScoringGraph
from cavga.model.build import build
from cavga.model.cavga import Cavga, Latent
from cavga.shapes import Images, Scalar, ScoreMap, Scores

Objective = Callable[[Images, torch.Generator], Scalar]

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class AutoencoderMethod:
    """A baseline whose network is an autoencoder; called with a configuration it gives the graph."""

    name: str
    """In the log."""
    units: int
    """Of z."""
    is_variational: bool
    objective: Callable[[Cavga, Images, torch.Generator], Scalar]
    """What is minimised on a batch; noise is drawn from the generator."""
    scores: Callable[[Cavga, Images], tuple[ScoreMap, Scores | None]]
    """The map at the images' size, and the image's score: None for the map's mean."""

    def __call__(self, config: RunConfig) -> "AutoencoderGraph":
        return AutoencoderGraph(config, self)


class AutoencoderGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, config: RunConfig, method: AutoencoderMethod) -> None:
        super().__init__(config.data.input_size)
        self.config, self.method = config, method
        self.model = self._untrained()

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all images, from the start."""
        self.model = self._untrained()
        objective = partial(self.method.objective, self.model)
        train_network(self, objective, images, self.config.training, device, name=self.method.name)

    def score_images(self, images: Images) -> GraphOutput:
        return output_of(self, *self.method.scores(self.model, images))

    def _untrained(self) -> Cavga:
        return make_autoencoder(self.config, units=self.method.units, is_variational=self.method.is_variational)


def network_config(config: RunConfig, *, units: int) -> RunConfig:
    """What `make_autoencoder` builds: d-u of preset `paper` with z a vector of `units`."""
    model = {"variant": "d-u", "latent_shape": "vector", "latent_channels": units}
    return make_config(
        "paper",
        {"data": {"image_size": config.data.input_size}},
        {"model": {**model, "decoder_width": config.model.decoder_width}},
    )


def make_autoencoder(config: RunConfig, *, units: int, is_variational: bool) -> Cavga:
    """Encoder, z of `units` and decoder for the images of `config`, with random weights that follow from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        model = build(network_config(config, units=units).model, image_size=config.data.input_size)
    if not is_variational:
        model.logvar_head = None
    return model


def train_network(
    graph: ScoringGraph,
    objective: Objective,
    images: NDArray[uint8],
    settings: TrainingConfig,
    device: torch.device,
    *,
    name: str,
) -> None:
    """Minimise the objective of batches with Adam, over all parameters of the graph; leaves it in eval mode.

    The objective draws its noise from the generator it is given. Raises TrainingError if the loss is not finite.
    """
    graph.to(device).train()
    noise = torch.Generator(device).manual_seed(settings.seed)
    descend(
        graph,
        lambda indices: objective(image_batch(images, indices, device), noise),
        *(len(images), settings),
        name=name,
    )
    graph.eval()


def descend(
    network: nn.Module,
    loss_of: Callable[[NDArray[intp]], Scalar],
    num_images: int,
    settings: TrainingConfig,
    *,
    name: str,
) -> None:
    """Minimise the loss of batches of images, given by their indices, with Adam; `name` is how the log calls it.

    Raises TrainingError if the loss is not finite.
    """
    optimizer = optim.Adam([p for p in network.parameters() if p.requires_grad], lr=settings.learning_rate)
    num_epochs = settings.epochs or 1
    for epoch in range(num_epochs):
        total = 0.0
        for indices, _ in epoch_batches(num_images, settings, epoch):
            loss = loss_of(indices)
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is {loss.item()} in epoch {epoch}: try a smaller --learning-rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimizer.step()
            total += loss.item() * len(indices)
        logger.info("%s: epoch %d of %d, loss %.5g", name, epoch + 1, num_epochs, total / num_images)


def output_of(graph: ScoringGraph, anomaly_map: ScoreMap, score: Scores | None = None) -> GraphOutput:
    """A map at the input size and the image's score, by default the map's mean: the error of the whole image."""
    scores = anomaly_map.mean(dim=(1, 2)) if score is None else score
    return GraphOutput(scores, anomaly_map, anomaly_map >= graph.pixel_threshold)


def bernoulli_map(logits: Images, images: Images) -> ScoreMap:
    """Cross-entropy of every pixel, mean of its colours, less the pixel's own entropy, which no reconstruction changes.

    So it is 0 where the reconstruction is exact: grey pixels do not score above black and white ones.
    """
    entropy = torch.special.entr(images) + torch.special.entr(1 - images)
    each = functional.binary_cross_entropy_with_logits(logits, images, reduction="none") - entropy
    return each.mean(dim=1)


def reconstructed(model: Cavga, images: Images) -> Images:
    """What an autoencoder makes of images at the mean of z, in [0, 1]."""
    return model.decoder(model.encode(images).mu).sigmoid()


def evidence_terms(model: Cavga, images: Images, noise: torch.Generator) -> tuple[Scores, Scores]:
    """Of each image what a VAE minimises: the reconstruction of a sample, summed over pixels, and the KL."""
    output = model(images, noise)
    return bernoulli_map(output.reconstruction_logits, images).sum(dim=(1, 2)), kl_of(output.latent)


def kl_of(latent: Latent) -> Scores:
    """KL(q(z|x) || N(0, I)) of each image, the sum over its units."""
    each: Tensor = 0.5 * (latent.mu.square() + latent.logvar.exp() - 1 - latent.logvar)
    return each.flatten(1).sum(dim=1)
