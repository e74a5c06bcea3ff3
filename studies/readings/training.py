"""One training of one reading: both players' steps, the rate, and what A does on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, optim

from cavga.config.presets import make_config
from cavga.config.schema import TrainingConfig
from cavga.data.dataset import augment, epoch_batches, image_batch
from cavga.losses import (
    attention_expansion_loss,
    discriminator_loss,
    generator_loss,
    kl_divergence,
    reconstruction_loss,
)
from cavga.model.build import build
from cavga.model.cavga import Cavga
from cavga.model.discriminator import Discriminator
from cavga.model.pretrained import load_encoder_weights
from cavga.shapes import AttentionMap, Images, Logits, Scalar
from cavga.training.loop import ADAM_BETAS, GRADIENT_NORM, one_cycle
from studies.readings.attention import Pass, cam_of, features_of, forward, to_unit
from studies.readings.readings import Reading
from studies.readings.sets import DIGIT, ImageSet

# Cuts, so that a row takes two minutes of a core: the preset has 16, 512, 64 and 64 px.
BATCH_SIZE, LATENT_CHANNELS, DECODER_WIDTH, CRITIC_SIDE = 8, 128, 32, 32
FIRST_BATCHES = 4  # that set a temperature
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Budget:
    """How long a row is trained, and how often it is looked at on the way."""

    steps: int
    rate: float
    looks: int


@dataclass
class Trained:
    """A model with what its attention needs."""

    reading: Reading
    model: Cavga
    depth: int
    temperature: float = 1.0

    def attention(self, found: Pass, images: Images) -> AttentionMap:
        """A of a forward pass."""
        cam = cam_of(self.reading, found, images, self.depth)
        channels = features_of(self.reading, found, self.depth).shape[1]
        return to_unit(self.reading, cam, channels=channels, temperature=self.temperature)


def start(reading: Reading, data: ImageSet, weights: str, seed: int) -> Trained:
    """The networks of preset `paper`: R with ImageNet weights to layer3, and of digits D without."""
    torch.manual_seed(seed)
    is_digit = data.name == DIGIT
    model_settings = {
        "variant": "d-u" if is_digit else "r-u",
        "stages": (4,) if is_digit else (3,),
        "weights": "none" if is_digit else weights,
        "latent_channels": LATENT_CHANNELS,
        "decoder_width": DECODER_WIDTH,
    }
    config = make_config("paper", {"model": model_settings})
    model = build(config.model, image_size=(data.side, data.side))
    load_encoder_weights(model.encoder, "none" if is_digit else weights)
    return Trained(reading, model, depth=model.stages[-1])


def train(trained: Trained, data: ImageSet, budget: Budget, seed: int, look: Callable[[int], None]) -> None:
    """Train, calling `look` with the number of steps done: before the first, after the last, and between."""
    reading, model = trained.reading, trained.model
    critic = Discriminator(input_size=CRITIC_SIDE)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    players = [optim.Adam(some, lr=budget.rate, betas=ADAM_BETAS) for some in (parameters, critic.parameters())]
    noise = torch.Generator().manual_seed(seed)
    looks = set(np.linspace(0, budget.steps, budget.looks).round().astype(int).tolist())
    for step, images in enumerate(batches_of(data, budget, seed)):
        if step in looks:
            look(step)
        share = step / budget.steps
        for group in (group for player in players for group in player.param_groups):
            group["lr"] = budget.rate * rate_at(reading, share)
        model.train()
        found = forward(model, images, noise)
        fake = found.logits.sigmoid()
        critic.requires_grad_(False)
        _descend(objective(trained, found, images, critic(fake), share), players[0], parameters)
        critic.requires_grad_(True)
        if step % reading.steps_per_critic == 0:
            loss = discriminator_loss(critic(images), critic(fake.detach()))
            _descend(loss, players[1], list(critic.parameters()))
    look(budget.steps)


def objective(trained: Trained, found: Pass, images: Images, fake_logits: Logits, share: float) -> Scalar:
    """Eq. 4 of a reading, up to a constant factor, which Adam does not see: that of L_R is always 1 and a mean."""
    reading = trained.reading
    num_pixels, num_latents = images[0].numel(), found.mu[0].numel()
    kl_weight = 1.0 if reading.kl == "mean" else num_latents / num_pixels
    of_images = 1.0 / num_pixels if reading.losses == "sums" else 1.0
    vae = reconstruction_loss(found.logits, images) + kl_weight * kl_divergence(found.mu, found.logvar)
    total = vae + of_images * adversarial_at(reading, share) * _adversarial(reading, fake_logits)
    if reading.attention_weight == 0:
        return total
    loss = attention_expansion_loss(trained.attention(found, images))
    return total + of_images * reading.attention_weight * loss


def adversarial_at(reading: Reading, share: float) -> float:
    """w_adv after a share of the steps."""
    if reading.adversarial_start == 0:
        return reading.adversarial_weight
    risen = (share - reading.adversarial_start) / (1 - reading.adversarial_start)
    return reading.adversarial_weight * max(risen, 0.0)


def rate_at(reading: Reading, share: float) -> float:
    """The share of the rate after a share of the steps."""
    match reading.schedule:
        case "constant":
            return 1.0
        case "decay":  # 150 epochs with a tenth after every 30, in proportion
            return 0.1 ** int(5 * share)
        case "one cycle":
            return one_cycle(share)


def set_temperature(trained: Trained, data: ImageSet, budget: Budget, seed: int) -> None:
    """Where a reading has one: the root mean square of the map over the first batches, before any step."""
    if trained.reading.to_unit != "temperature":
        return
    trained.model.train()
    noise, squares = torch.Generator().manual_seed(seed), []
    for images in islice(batches_of(data, budget, seed), FIRST_BATCHES):
        found = forward(trained.model, images, noise)
        squares.append(cam_of(trained.reading, found, images, trained.depth).detach().square().mean())
    trained.temperature = max(float(torch.stack(squares).mean().sqrt()), 1e-12)


def _adversarial(reading: Reading, fake_logits: Logits) -> Scalar:
    if reading.generator == "minimax":
        return torch.nn.functional.logsigmoid(-fake_logits).mean()  # log(1 - D)
    return generator_loss(fake_logits)


def batches_of(data: ImageSet, budget: Budget, seed: int) -> Iterator[Images]:
    """The batches of a training in their order, flipped and turned as in the preset."""
    settings = TrainingConfig(seed=seed, batch_size=BATCH_SIZE, steps_per_epoch=budget.steps)
    for indices, passes in epoch_batches(len(data.fitted), settings, 0):
        yield augment(image_batch(data.fitted, indices, CPU), indices, seed=seed, epoch=passes)


def _descend(loss: Tensor, player: optim.Optimizer, parameters: list[torch.nn.Parameter]) -> None:
    player.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
    torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
    player.step()
