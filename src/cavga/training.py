"""The training loop, in plain torch: Eq. 4 for encoder and decoder, Eq. 2 for the discriminator.

Two optimizers, because the two players minimise different things. Every random choice is a function
of (seed, epoch, index), so a run that was killed and resumed ends with the same bits.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from cavga.checkpoint import TRAINING_FOLDER, flatten_optimizer, load_tensors, restore_optimizer, save_tensors
from cavga.config import LossConfig, RunConfig
from cavga.data.dataset import augment, epoch_order, image_batch
from cavga.errors import ResumeError, TrainingError
from cavga.files import atomic_write
from cavga.losses import (
    attention_expansion_loss,
    discriminator_loss,
    generator_loss,
    kl_divergence,
    reconstruction_loss,
    unsupervised_objective,
    vae_loss,
)
from cavga.model.cavga import Cavga
from cavga.model.discriminator import Discriminator
from cavga.shapes import Images, LatentMap

ADAM_BETAS = (0.5, 0.999)  # DC-GAN's
GRADIENT_NORM = 5.0
DECAY_EPOCHS, DECAY = 30, 0.1  # Paper: recalled of the supplementary, low trust (docs/decisions/0003)
SECONDS_BETWEEN_CHECKPOINTS = 20.0
STATE_FILE = "state.safetensors"
ACTIVE_VARIANCE = 0.01  # a latent channel whose mu varies less than this is not used (Burda et al. 2016)

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class StepLosses:
    """Every term of one step, detached, and the latent map it was computed from."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    generator: Tensor
    discriminator: Tensor
    attention_expansion: Tensor
    mu: LatentMap
    kl_per_channel: Tensor


@dataclass
class Players:
    """The two networks of the game and their optimizers."""

    model: Cavga
    discriminator: Discriminator
    optimizer: optim.Optimizer
    discriminator_optimizer: optim.Optimizer


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows after each step."""

    epoch: int
    num_epochs: int
    step: int
    num_steps: int
    losses: dict[str, float]


def make_players(model: Cavga, config: RunConfig, device: torch.device) -> Players:
    """Discriminator and optimizers for `model`, all on `device`."""
    discriminator = Discriminator().to(device)
    model.to(device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = config.training.learning_rate
    return Players(
        model,
        discriminator,
        optim.Adam(trainable, lr=rate, betas=ADAM_BETAS),
        optim.Adam(discriminator.parameters(), lr=rate, betas=ADAM_BETAS),
    )


def training_step(players: Players, images: Images, weights: LossConfig, noise: torch.Generator) -> StepLosses:
    """One batch: encoder and decoder on Eq. 4, then the discriminator on the same reconstructions."""
    model, discriminator = players.model, players.discriminator
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        output = model(images, noise)
        reconstruction = reconstruction_loss(output.reconstruction_logits, images)
        kl = kl_divergence(output.mu, output.logvar)
        attention = attention_expansion_loss(model.attention(output.mu))
        fake = output.reconstruction_logits.sigmoid()
        discriminator.requires_grad_(False)
        generator = generator_loss(discriminator(fake))
        total = unsupervised_objective(
            vae=vae_loss(reconstruction, kl, kl_weight=weights.kl_weight),
            generator=generator,
            attention=attention,
            vae_weight=weights.vae_weight,
            adversarial_weight=weights.adversarial_weight,
            attention_weight=weights.attention_weight,
        )
    _descend(total, players.optimizer)
    discriminator.requires_grad_(True)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        critic = discriminator_loss(discriminator(images), discriminator(fake.detach()))
    _descend(critic, players.discriminator_optimizer)
    mu, logvar = output.mu.detach().float(), output.logvar.detach().float()
    kl_per_channel = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean(dim=(0, 2, 3))
    return StepLosses(
        total=total.detach(),
        reconstruction=reconstruction.detach(),
        kl=kl.detach(),
        generator=generator.detach(),
        discriminator=critic.detach(),
        attention_expansion=attention.detach(),
        mu=mu,
        kl_per_channel=kl_per_channel,
    )


def _descend(loss: Tensor, optimizer: optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
    optimizer.step()


class EpochRecord:
    """Sums over one epoch: loss terms and latent statistics, for one line of log.jsonl."""

    def __init__(self, num_channels: int, device: torch.device) -> None:
        self.num_images = 0
        self.num_positions = 0
        self.terms: dict[str, float] = {}
        self.latent = torch.zeros(3, num_channels, dtype=torch.float64, device=device)  # mu, mu^2, KL

    def add(self, losses: StepLosses) -> dict[str, float]:
        """Add one step; returns its terms as numbers."""
        count = len(losses.mu)
        names = ("total", "reconstruction", "kl", "generator", "discriminator", "attention_expansion")
        terms = {name: float(getattr(losses, name)) for name in names}
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value * count
        rows = losses.mu.permute(1, 0, 2, 3).flatten(1).double()
        self.latent += torch.stack(
            [rows.sum(dim=1), rows.square().sum(dim=1), losses.kl_per_channel.double() * rows.shape[1]]
        )
        self.num_positions += rows.shape[1]
        self.num_images += count
        return terms

    def line(self, epoch: int, seconds: float) -> dict[str, Any]:
        """The log line: mean of every term, KL per channel, active units, attention coverage."""
        means = {name: value / self.num_images for name, value in self.terms.items()}
        mean, square, kl = self.latent / self.num_positions
        active = int((square - mean.square() > ACTIVE_VARIANCE).sum())
        return {
            "epoch": epoch,
            **means,
            "attention_coverage": 1 - means["attention_expansion"],
            "active_units": active,
            "kl_per_channel": [round(value, 6) for value in kl.tolist()],
            "seconds": round(seconds, 3),
        }


def collapse_warnings(line: dict[str, Any]) -> list[str]:
    """What is wrong with the latent or the attention after an epoch, in words; usually nothing."""
    found = []
    if line["active_units"] == 0:
        found.append("the latent has collapsed: no channel of mu varies, the reconstruction ignores the image")
    if not 0.01 < line["attention_coverage"] < 0.99:
        found.append(
            f"attention has collapsed: mean A is {line['attention_coverage']:.3f}, the same everywhere; "
            "the map localizes nothing"
        )
    return found


def train(
    players: Players,
    images: NDArray[np.uint8],
    config: RunConfig,
    *,
    folder: Path,
    fingerprint: str,
    resume: bool = False,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> None:
    """Train for the configured epochs, logging to folder/log.jsonl, resumable from folder/training.

    `images` is the cache of `cache_images`; `fingerprint` identifies data and configuration, and a
    resume under another one raises ResumeError.
    """
    state_path, log_path = folder / TRAINING_FOLDER / STATE_FILE, folder / "log.jsonl"
    lines = _restore(players, state_path, fingerprint) if resume and state_path.is_file() else []
    if lines:
        logger.info("resuming after %d of %d epochs", len(lines), config.training.epochs)
    atomic_write(log_path, _log(lines))
    last_saved = -math.inf  # the first epoch is saved whatever it takes, so that there is something to resume
    for epoch in range(len(lines), config.training.epochs):
        lines.append(_train_epoch(players, images, config, epoch, on_step))
        for warning in collapse_warnings(lines[-1]):
            logger.warning("epoch %d: %s", epoch, warning)
        is_last = epoch + 1 == config.training.epochs
        if is_last or time.monotonic() - last_saved > SECONDS_BETWEEN_CHECKPOINTS:
            _save(players, state_path, fingerprint, lines)
            last_saved = time.monotonic()
        atomic_write(log_path, _log(lines))


def _train_epoch(
    players: Players,
    images: NDArray[np.uint8],
    config: RunConfig,
    epoch: int,
    on_step: Callable[[Progress], None],
) -> dict[str, Any]:
    started = time.monotonic()
    settings = config.training
    device = next(players.discriminator.parameters()).device
    for optimizer in (players.optimizer, players.discriminator_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * DECAY ** (epoch // DECAY_EPOCHS)
    players.model.train()
    players.discriminator.train()
    noise = torch.Generator(device).manual_seed(_mix(settings.seed, epoch))
    record = EpochRecord(players.model.mu_head.num_channels, device)
    batches = list(epoch_order(len(images), batch_size=settings.batch_size, seed=settings.seed, epoch=epoch))
    for step, indices in enumerate(batches):
        batch = image_batch(images, indices, device)
        if config.data.augment:
            batch = augment(batch, indices, seed=settings.seed, epoch=epoch)
        terms = record.add(training_step(players, batch, config.loss, noise))
        if not math.isfinite(terms["total"]):
            raise TrainingError(f"the loss is {terms['total']} in epoch {epoch}: try a smaller --learning-rate")
        on_step(Progress(epoch, settings.epochs, step + 1, len(batches), terms))
    return record.line(epoch, time.monotonic() - started)


def _mix(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _log(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _save(players: Players, path: Path, fingerprint: str, lines: list[dict[str, Any]]) -> None:
    tensors = {f"model.{key}": value for key, value in players.model.state_dict().items()}
    tensors |= {f"discriminator.{key}": value for key, value in players.discriminator.state_dict().items()}
    tensors |= flatten_optimizer(players.optimizer, "optimizer")
    tensors |= flatten_optimizer(players.discriminator_optimizer, "discriminator_optimizer")
    save_tensors(path, tensors, {"fingerprint": fingerprint, "log": lines})


def _restore(players: Players, state_path: Path, fingerprint: str) -> list[dict[str, Any]]:
    """Load the last checkpoint into the players; returns the log lines up to it."""
    tensors, record = load_tensors(state_path)
    if record["fingerprint"] != fingerprint:
        raise ResumeError(
            f"{state_path.parent.parent} was started with other images or settings, so it cannot go on: "
            "use the same ones, or start a new run without --resume"
        )
    for prefix, module in (("model.", players.model), ("discriminator.", players.discriminator)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    restore_optimizer(players.optimizer, tensors, "optimizer")
    restore_optimizer(players.discriminator_optimizer, tensors, "discriminator_optimizer")
    return list(record["log"])
