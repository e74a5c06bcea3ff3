"""What comparison methods share whose networks are more than one autoencoder: their graph, their game, their critic.

A method is a `NetworkMethod` in a file of its own: its network, who minimises what, and what it says of images. A
method with one objective is a game of one player. Generators are the decoders of `autoencoder.make_autoencoder`.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import Objective, output_of
from cavga.config.schema import RunConfig, TrainingConfig
from cavga.data.dataset import epoch_batches, image_batch
from cavga.errors import TrainingError
from cavga.inference.graph import GraphOutput, ScoringGraph
from cavga.model.encoder import DcganEncoder
from cavga.shapes import Images, Scalar, ScoreMap, Scores

GAN_BETAS = (0.5, 0.999)  # DC-GAN's, of every player of a game

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class Player:
    """Some parameters and what they minimise on a batch; noise is drawn from the generator."""

    parameters: Iterable[nn.Parameter]
    loss: Objective


@dataclass(frozen=True)
class NetworkMethod:
    """A baseline with a network of its own; called with a configuration it gives the graph."""

    name: str
    """In the log."""
    make: Callable[[RunConfig], Any]
    """The network with random weights."""
    players: Callable[[Any], Sequence[Player]]
    """Who takes a step on every batch, in turn."""
    scores: Callable[[Any, Images], tuple[ScoreMap, Scores | None]]
    """The map at the images' size, and the image's score: None for the map's mean."""
    units: int | None = None
    """Of a vector z that the network's `decode` makes an image of."""
    is_searching: bool = False
    """Whether scoring takes gradients."""

    def __call__(self, config: RunConfig) -> "NetworkGraph":
        return NetworkGraph(config, self)


class NetworkGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, config: RunConfig, method: NetworkMethod) -> None:
        super().__init__(config.data.input_size)
        self.config, self.method = config, method
        self.model = self._untrained()

    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Train on all images, from the start."""
        self.model = self._untrained()
        self.to(device).train()
        play(self.method.players(self.model), images, self.config.training, device, name=self.method.name)
        self.eval()

    def score_images(self, images: Images) -> GraphOutput:
        if not self.method.is_searching:
            return output_of(self, *self.method.scores(self.model, images))
        # Inside the engine's inference mode nothing has a gradient; a clone made outside it has.
        with torch.inference_mode(False), torch.enable_grad():
            return output_of(self, *self.method.scores(self.model, images.clone()))

    def _untrained(self) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.training.seed)
            return self.method.make(self.config)


def play(
    players: Sequence[Player], images: NDArray[uint8], settings: TrainingConfig, device: torch.device, *, name: str
) -> None:
    """On every batch each player takes a step of Adam on its own loss, one after the other.

    All have the configuration's learning rate, several players GAN_BETAS. Raises TrainingError if a loss is not finite.
    """
    chosen: dict[str, Any] = {"lr": settings.learning_rate}
    if len(players) > 1:
        chosen["betas"] = GAN_BETAS
    optimizers = [optim.Adam(player.parameters, **chosen) for player in players]
    noise = torch.Generator(device).manual_seed(settings.seed)
    num_epochs = settings.epochs or 1
    for epoch in range(num_epochs):
        losses: list[float] = []
        for indices, _ in epoch_batches(len(images), settings, epoch):
            batch = image_batch(images, indices, device)
            losses = [_step(*each, batch, noise) for each in zip(players, optimizers, strict=True)]
            if not all(map(math.isfinite, losses)):
                raise TrainingError(f"the losses are {losses} in epoch {epoch}: try a smaller --learning-rate")
        shown = ", ".join(f"{loss:.5g}" for loss in losses)
        logger.info("%s: epoch %d of %d, last losses %s", name, epoch + 1, num_epochs, shown)


def _step(player: Player, optimizer: optim.Adam, batch: Images, noise: torch.Generator) -> float:
    """One step of a player; what its loss leaves in other players' gradients they clear themselves."""
    loss = player.loss(batch, noise)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
    optimizer.step()
    return loss.item()


class Critic(nn.Module):
    """DC-GAN's discriminator, fully convolutional: images -> one logit a place of its last stage."""

    def __init__(self, *, depth: int = 4) -> None:
        super().__init__()
        self.depth = depth
        self.encoder = DcganEncoder(depth=depth, frozen=False)
        self.head = nn.Conv2d(self.encoder.stage_channels[depth], 1, 1)

    def features(self, images: Images) -> Tensor:
        """The last stage: (batch, channels, rows, columns)."""
        return self.encoder(images)[self.depth]

    def places(self, images: Images) -> ScoreMap:
        """The logit of every place."""
        return self.head(self.features(images))[:, 0]

    def forward(self, images: Images) -> Scores:
        """The logit of the image, the mean over places."""
        return self.places(images).mean(dim=(1, 2))


def uniform(shape: Sequence[int], noise: torch.Generator) -> Tensor:
    """Numbers between -1 and 1, on the generator's device."""
    return 2 * torch.rand(*shape, generator=noise, device=noise.device) - 1


def squared_residual(images: Images, reconstructions: Images) -> ScoreMap:
    """Of every pixel, mean of its colours."""
    return (images - reconstructions).square().mean(dim=1)


def per_image(values: ScoreMap) -> Scalar:
    """A map summed over pixels, mean of the images."""
    return values.sum(dim=(1, 2)).mean()


def told_apart(real: Tensor, made: Tensor) -> Scalar:
    """What a critic minimises, of its logits: real ones high, made ones low."""
    return functional.softplus(-real).mean() + functional.softplus(made).mean()
