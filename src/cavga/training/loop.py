"""The training loop, in plain torch: Eq. 4 or 6 for encoder, decoder and classifier, Eq. 2 for the discriminator.

Two optimizers, because the two players minimise different things. Every random choice is a function
of (seed, epoch, index), so a run that was killed and resumed ends with the same bits.
"""

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from cavga.atomic_files import atomic_write
from cavga.config.schema import LossConfig, RunConfig, epochs_of, is_one_cycle
from cavga.config.variant import TrainingPlan
from cavga.data.dataset import TrainingImages, augment, epoch_batches, image_batch
from cavga.errors import ModelFileError, ResumeError, TrainingError
from cavga.losses import discriminator_loss, generator_loss, kl_divergence, reconstruction_loss
from cavga.model.cavga import Cavga
from cavga.model.discriminator import Discriminator, input_size_for
from cavga.progress import SILENT, Progress
from cavga.runs.checkpoint import TENSORS_SUM, flatten_optimizer, load_tensors, restore_optimizer, save_tensors
from cavga.runs.model_json import LOG_FILE, TRAINING_FOLDER
from cavga.shapes import Images, Labels, ScoreMap
from cavga.structured_files import StructureError, as_schema
from cavga.synthetic.crops import SyntheticImages, synthetic_batch
from cavga.training.log import EpochRecord, StepLosses, collapse_warnings, count_calls
from cavga.training.objectives import self_supervised, unsupervised, weakly_supervised

ADAM_BETAS = (0.5, 0.999)  # DC-GAN's
GRADIENT_NORM = 5.0
WARM_UP = 0.1  # of the steps of one cycle
SECONDS_BETWEEN_CHECKPOINTS = 20.0
STATE_FILE = "state.safetensors"

logger = logging.getLogger("cavga")


@dataclass
class Networks:
    """The two networks of the game and their optimizers."""

    model: Cavga
    discriminator: Discriminator
    optimizer: optim.Optimizer
    discriminator_optimizer: optim.Optimizer


def make_networks(model: Cavga, config: RunConfig, device: torch.device) -> Networks:
    """Discriminator and optimizers for `model`, all on `device`."""
    discriminator = Discriminator(input_size=input_size_for(config.data.input_size)).to(device)
    model.to(device)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = config.training.learning_rate
    return Networks(
        model,
        discriminator,
        optim.Adam(trainable, lr=rate, betas=ADAM_BETAS),
        optim.Adam(discriminator.parameters(), lr=rate, betas=ADAM_BETAS),
    )


def training_step(
    networks: Networks,
    images: Images,
    labels: Labels,
    weights: LossConfig,
    noise: torch.Generator,
    *,
    class_weights: tuple[float, float] = (1.0, 1.0),
    regions: ScoreMap | None = None,
) -> StepLosses:
    """One batch: encoder, decoder and classifier on Eq. 4 or 6, then the discriminator on the same reconstructions.

    `regions` is the share of a synthetic anomaly in every pixel, where that is known. Where w_adv is 0 there is no
    game, and the discriminator is left as it is.
    """
    model, discriminator = networks.model, networks.discriminator
    has_game = weights.adversarial_weight != 0
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        output = model(images, noise)
        fake = output.reconstruction_logits.sigmoid()
        discriminator.requires_grad_(False)
        terms = {
            "reconstruction": reconstruction_loss(output.reconstruction_logits, images),
            "kl": kl_divergence(output.latent.mu, output.latent.logvar),
            "generator": generator_loss(discriminator(fake)) if has_game else images.new_zeros(()),
        }
        if regions is not None:
            objective = self_supervised(model, output, labels, regions, terms, weights)
        elif output.class_logits is None:
            objective = unsupervised(model, output, terms, weights)
        else:
            objective = weakly_supervised(model, output, labels, terms, weights, class_weights)
    # Of sums the gradient is larger by the number of values; its limit is one of means.
    scale = images[0].numel() if weights.reduction == "sums" else 1
    _descend(objective.total, networks.optimizer, most=scale * GRADIENT_NORM)
    terms |= {"total": objective.total}
    if has_game:
        discriminator.requires_grad_(True)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
            critic = discriminator_loss(discriminator(images), discriminator(fake.detach()))
        _descend(critic, networks.discriminator_optimizer, most=GRADIENT_NORM)
        terms |= {"discriminator": critic}
    mu, logvar = output.latent.mu.detach().float(), output.latent.logvar.detach().float()
    return StepLosses(
        terms={name: value.detach() for name, value in terms.items()},
        mu=mu,
        kl_per_channel=0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean(dim=(0, 2, 3)),
        coverage=objective.coverage.detach(),
        calls=count_calls(objective.class_logits, labels),
    )


def _descend(loss: Tensor, optimizer: optim.Optimizer, *, most: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(parameters, most)
    optimizer.step()


def train(
    networks: Networks,
    data: TrainingImages | SyntheticImages,
    config: RunConfig,
    *,
    folder: Path,
    fingerprint: str,
    resume: bool = False,
    progress: Progress = SILENT,
) -> None:
    """Train for the configured epochs, logging to folder/log.jsonl, resumable from folder/training.

    `fingerprint` identifies data and configuration, and a resume under another one raises ResumeError.
    """
    num_epochs = epochs_of(config)
    state_path, log_path = folder / TRAINING_FOLDER / STATE_FILE, folder / LOG_FILE
    lines = _restore(networks, state_path, fingerprint) if resume and state_path.is_file() else []
    if lines:
        logger.info("resuming after %d of %d epochs", len(lines), num_epochs)
    is_decoder_alone = config.model.plan is TrainingPlan.WHITENED_FIRST
    progress.begin("decoder" if is_decoder_alone else "networks", num_epochs, "epochs", done=len(lines))
    atomic_write(log_path, _log(lines))
    last_saved = -math.inf  # the first epoch is saved whatever it takes, so that there is something to resume
    for epoch in range(len(lines), num_epochs):
        lines.append(_train_epoch(networks, data, config, epoch, progress))
        # A head that is set by whitening is not trained, and its attention means nothing before the prior is fitted;
        # A^cn of synthetic images is known to cover nearly all.
        is_trained = any(parameter.requires_grad for parameter in networks.model.mu_head.parameters())
        is_trained = is_trained and isinstance(data, TrainingImages)
        for warning in collapse_warnings(lines[-1], is_attention_trained=is_trained):
            logger.warning("epoch %d: %s", epoch, warning)
        is_last = epoch + 1 == num_epochs
        if is_last or time.monotonic() - last_saved > SECONDS_BETWEEN_CHECKPOINTS:
            _save(networks, state_path, fingerprint, lines)
            last_saved = time.monotonic()
        atomic_write(log_path, _log(lines))


def _train_epoch(
    networks: Networks,
    data: TrainingImages | SyntheticImages,
    config: RunConfig,
    epoch: int,
    progress: Progress,
) -> dict[str, Any]:
    started = time.monotonic()
    settings, num_epochs = config.training, epochs_of(config)
    device = next(networks.discriminator.parameters()).device
    networks.model.train()
    networks.discriminator.train()
    noise = torch.Generator(device).manual_seed(_mix(settings.seed, epoch))
    record = EpochRecord(networks.model.mu_head.num_channels, device)
    class_weights = data.class_weights(config.loss.class_balance) if isinstance(data, TrainingImages) else (1.0, 1.0)
    batches = list(epoch_batches(len(data), settings, epoch))
    for step, (indices, passes) in enumerate(batches):
        share = one_cycle((epoch + step / len(batches)) / num_epochs) if is_one_cycle(config) else 1.0
        _set_rate(networks, share * settings.learning_rate)
        images, labels, regions = _batch(data, indices, config, passes, device)
        losses = training_step(
            networks, images, labels, config.loss, noise, class_weights=class_weights, regions=regions
        )
        terms = record.add(losses)
        if not math.isfinite(terms["total"]):
            raise TrainingError(
                f"the loss is {terms['total']} in epoch {epoch}: try a smaller learning_rate (--learning-rate)"
            )
        progress.advance(1 / len(batches))
    return record.line(epoch, time.monotonic() - started)


def _batch(
    data: TrainingImages | SyntheticImages,
    indices: NDArray[np.intp],
    config: RunConfig,
    passes: NDArray[np.intp],
    device: torch.device,
) -> tuple[Images, Labels, ScoreMap | None]:
    """Images and their labels, and of synthetic ones the share of an anomaly in every pixel."""
    seed = config.training.seed
    if isinstance(data, SyntheticImages):
        pixels, shares = synthetic_batch(data, indices, seed=seed, epoch=int(passes[0]))
        regions = torch.from_numpy(shares).to(device).float() / 255
        images = image_batch(pixels, np.arange(len(pixels)), device)
        return images, (regions.flatten(1).amax(dim=1) >= 0.5).long(), regions
    batch = image_batch(data.images, indices, device)
    if config.data.augment:
        batch = augment(batch, indices, seed=seed, epoch=passes)
    return batch, torch.from_numpy(data.labels[indices]).to(device), None


def one_cycle(share: float) -> float:
    """The share of the learning rate after a share of all steps: up over the first tenth, down to 0 as a cosine."""
    if share < WARM_UP:
        return (share + 0.04) / (WARM_UP + 0.04)
    return 0.5 + 0.5 * math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))


def _set_rate(networks: Networks, rate: float) -> None:
    for optimizer in (networks.optimizer, networks.discriminator_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = rate


def _mix(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _log(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _save(networks: Networks, path: Path, fingerprint: str, lines: list[dict[str, Any]]) -> None:
    tensors = {f"model.{key}": value for key, value in networks.model.state_dict().items()}
    tensors |= {f"discriminator.{key}": value for key, value in networks.discriminator.state_dict().items()}
    tensors |= flatten_optimizer(networks.optimizer, "optimizer")
    tensors |= flatten_optimizer(networks.discriminator_optimizer, "discriminator_optimizer")
    save_tensors(path, tensors, {"fingerprint": fingerprint, "log": lines})


class _State(msgspec.Struct):
    fingerprint: str
    log: list[dict[str, Any]]


def _restore(networks: Networks, state_path: Path, fingerprint: str) -> list[dict[str, Any]]:
    """Load the last checkpoint into the networks; returns the log lines up to it."""
    tensors, stored = load_tensors(state_path)
    try:
        record = as_schema(stored, _State)
    except StructureError as error:
        raise ModelFileError(f"{state_path} is damaged ({error}): start a new run without resume (--resume)") from None
    if TENSORS_SUM not in stored:
        logger.warning("%s is of an earlier version and carries no sum, so damage cannot be seen", state_path)
    if record.fingerprint != fingerprint:
        raise ResumeError(
            f"{state_path.parent.parent} was started with other images or settings, so it cannot go on: "
            "use the same ones, or start a new run without resume (--resume)"
        )
    for prefix, module in (("model.", networks.model), ("discriminator.", networks.discriminator)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    restore_optimizer(networks.optimizer, tensors, "optimizer")
    restore_optimizer(networks.discriminator_optimizer, tensors, "discriminator_optimizer")
    return record.log
