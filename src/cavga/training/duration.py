"""About how long a training will take: what it repeats is timed once on the machine it runs on, and counted."""

import time
from collections.abc import Callable

import numpy as np
import torch

from cavga.config.schema import RunConfig, epochs_of, images_per_epoch
from cavga.config.variant import TrainingPlan
from cavga.data.dataset import TrainingImages, image_batch
from cavga.images.decode import BATCH_SIZE
from cavga.model.build import map_size_of
from cavga.model.cavga import Cavga
from cavga.model.classifiers import GuidedHead
from cavga.model.coreset import greedy_coreset
from cavga.training.fit import NUM_FOLDS
from cavga.training.fit_guided_head import (
    NUM_NORMAL,
    NUM_STEPS,
    NUM_SYNTHETIC,
    drawn_patches,
    num_synthetic,
    synthetic_images,
)
from cavga.training.fit_prior import MAX_CANDIDATES, MAX_PATCHES, NUM_CENTRES

NUM_TIMED, NUM_CHOSEN = 8192, 128  # patches, and centres that are chosen of them, to time the prior by
NUM_REPEATS = 3  # the quickest counts: the first one warms up
BACKWARD = 3.0  # a step forward and backward, of the time of the step forward
EXPORT_SECONDS = 20.0  # most of it is spent on the graph, whatever the data
CHECKED = 44  # images that the check of an export scores, by both


def expected_seconds(model: Cavga, images: TrainingImages, config: RunConfig, *, with_export: bool) -> dict[str, float]:
    """Seconds of every phase that follows the resizing, by its name and in order; the model is left as it is."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return _expected(model, images, config, device, with_export=with_export)


def _expected(
    model: Cavga, images: TrainingImages, config: RunConfig, device: torch.device, *, with_export: bool
) -> dict[str, float]:
    one_batch = _seconds_of_a_batch(model, images, device)
    num_batches = -(-images.num_normal // BATCH_SIZE)
    num_steps = epochs_of(config) * -(-images_per_epoch(config.training, len(images)) // config.training.batch_size)
    one_step = BACKWARD * one_batch * config.training.batch_size / BATCH_SIZE
    is_log = config.model.features == "log"
    features = {"features": one_batch * num_batches * (1 + is_log)} if config.model.plan.is_whitened else {}
    if config.model.plan is TrainingPlan.WHITENED_FIRST:
        planned = {**features, "decoder": one_step * num_steps}
    else:
        planned = {"networks": BACKWARD * one_step * num_steps, **features}
    if config.model.prior == "aggregated":
        planned["prior"] = one_batch * num_batches + (NUM_FOLDS + 1) * _seconds_of_a_fit(model, images, device)
    if config.model.plan.is_whitened and config.model.supervision == "s":
        planned |= _of_the_guided_head(model, images, one_batch, device)
    if config.model.plan.is_whitened and config.model.supervision == "w":
        planned["classifier"] = one_batch * num_batches * 6
    planned["thresholds"] = one_batch * num_batches
    if with_export:
        planned |= {"export": EXPORT_SECONDS, "export check": one_batch * CHECKED / BATCH_SIZE}
    return planned


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic() - started


@torch.no_grad()
def _seconds_of_a_batch(model: Cavga, images: TrainingImages, device: torch.device) -> float:
    """Of BATCH_SIZE images through the encoder."""
    was_training = model.training
    model.eval()
    count = min(BATCH_SIZE, images.num_normal)
    batch = image_batch(images.normal, np.arange(count), device)
    seconds = min(_seconds(lambda: model.encode_stages(batch)) for _ in range(NUM_REPEATS))
    model.train(was_training)
    return seconds * BATCH_SIZE / count


@torch.no_grad()
def _seconds_of_a_fit(model: Cavga, images: TrainingImages, device: torch.device) -> float:
    """Of one prior: nearly all of it goes into the choice of its centres."""
    rows, columns = map_size_of(model)
    num_patches = min(images.num_normal * rows * columns, MAX_PATCHES, MAX_CANDIDATES)
    points = torch.rand(min(NUM_TIMED, num_patches), model.mu_head.num_channels, device=device)
    chosen = min(NUM_CHOSEN, len(points))
    seconds = _seconds(lambda: greedy_coreset(points, chosen, first=0))
    return seconds * min(NUM_CENTRES, num_patches) / chosen * max(1.0, num_patches / NUM_TIMED) ** 0.5


def _of_the_guided_head(
    model: Cavga, images: TrainingImages, one_batch: float, device: torch.device
) -> dict[str, float]:
    """Of the anomalies that are made, and of the training on them."""
    some = images.normal[: min(4, images.num_normal)]
    makes_one = _seconds(lambda: list(synthetic_images(some, 0))) / num_synthetic(len(some))
    count = num_synthetic(images.num_normal)
    head = GuidedHead(latent_channels=model.mu_head.num_channels).to(device)
    z = torch.rand(NUM_SYNTHETIC + NUM_NORMAL, model.mu_head.num_channels, *map_size_of(model), device=device)

    def step() -> None:
        patches, _ = drawn_patches(head.context(z), torch.zeros_like(z[:, 0]))
        head.layers(patches[:, :, None, None]).mean().backward()

    one_step = min(_seconds(step) for _ in range(NUM_REPEATS))
    through = (images.num_normal + count) / BATCH_SIZE
    return {"synthetic anomalies": makes_one * count + one_batch * through, "attention": one_step * NUM_STEPS}
