"""The self-supervised variants: attention trained on anomalies that are made on the normal images, their place known.

Once the latent is fixed its maps of the synthetic images are computed once and kept, and a step takes some patches of
some images, so that the head is trained in well under a minute. Images labelled bad, where there are some, join in with
their label alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cavga.data.dataset import TrainingImages, image_batches
from cavga.images.decode import BATCH_SIZE
from cavga.losses import attention_bound_loss, attention_shrinking_loss
from cavga.model.build import map_size_of
from cavga.model.cavga import Cavga
from cavga.model.classifiers import GuidedHead, top_mean
from cavga.progress import SILENT, Progress, counted
from cavga.shapes import LatentMap, PatchScores, Scalar, ScoreMap
from cavga.synthetic.subtle import SUBTLE_NAMES, synthesise_subtle_anomaly
from cavga.training.fit_classifier import or_left_out

SYNTHETIC_PER_IMAGE, MAX_SYNTHETIC = 2, 1500  # the maps of z are held in memory: 256 KB each at 256 px
SHARE_LEFT_OUT, MAX_LEFT_OUT = 0.2, 64  # normal images that the head does not see, for the scale of its map
NUM_STEPS = 400
NUM_SYNTHETIC, NUM_NORMAL, NUM_LABELLED = 8, 4, 2  # of a step
PATCHES_DRAWN = 256  # of an image, a step
LEAST_COVERAGE, COVERAGE_WEIGHT = 0.9, 3.0  # of the mean of A on the normal patches of an image, and of its loss
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 2e-3, 1e-3, 0.1


@dataclass(frozen=True)
class Examples:
    """What the head is trained on: maps of z in half precision, and how much of the synthetic ones is anomalous."""

    normal: Float[Tensor, "normals latent rows columns"]
    synthetic: Float[Tensor, "synthetic latent rows columns"]
    labels: Float[Tensor, "synthetic rows columns"]
    anomalous: Float[Tensor, "anomalies latent rows columns"]


def fit_guided_head(
    model: Cavga,
    images: TrainingImages,
    is_left_out: NDArray[np.bool_],
    *,
    seed: int,
    device: torch.device,
    progress: Progress = SILENT,
) -> None:
    """Train the model's GuidedHead on all but the normal images that are left out; the rest of z stays as it is."""
    model.eval()
    seen = images.normal_in_memory(~is_left_out if is_left_out.any() else None, seed=seed)
    progress.begin("synthetic anomalies", num_synthetic(len(seen)), "images")
    normal, anomalous = _latents(model, seen, device), _latents(model, images.anomalous, device)
    synthetic, labels = _synthetic_batch(model, seen, seed, device, progress)
    progress.begin("attention", NUM_STEPS, "steps")
    examples = Examples(normal, synthetic, labels, anomalous)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = GuidedHead(latent_channels=normal.shape[1]).to(device)
        head.unit.copy_(or_left_out(normal.float().std(dim=(0, 2, 3))))
        train_guided_head(head, examples, progress)
    model.classifier = head.eval().requires_grad_(False)
    left_out = images.normal_in_memory(is_left_out if is_left_out.any() else None, seed=seed)
    _set_scales(model, head, _latents(model, left_out, device))


def choose_left_out(
    num_images: int,
    seed: int,
    *,
    photographs: NDArray[np.intp] | None = None,
    measured: NDArray[np.intp] | None = None,
) -> NDArray[np.bool_]:
    """Which of the normal images the head does not see; none of one.

    Of tiles and copies all those of some `photographs`. They are drawn among those that the prior `measured` (all by
    default): where many are not, two independent draws would hardly meet, and only an image of both sets the mask's
    threshold.
    """
    if photographs is not None:
        known = None if measured is None else np.unique(photographs[measured])
        return choose_left_out(int(photographs.max()) + 1, seed, measured=known)[photographs]
    candidates = np.arange(num_images) if measured is None else measured
    num_left_out = min(max(1, round(SHARE_LEFT_OUT * num_images)), MAX_LEFT_OUT) if num_images > 1 else 0
    order = np.random.default_rng([seed, num_images]).permutation(len(candidates))
    is_left_out = np.zeros(num_images, dtype=np.bool_)
    is_left_out[candidates[order[:num_left_out]]] = True
    return is_left_out


@torch.no_grad()
def _set_scales(model: Cavga, head: GuidedHead, left_out: LatentMap) -> None:
    """Mean and standard deviation on normal images that the head was not trained on, of its map and of the energy's."""
    parts = [part.float() for part in left_out.split(BATCH_SIZE)]  # type: ignore[no-untyped-call]  # torch's own
    for scale, maps in (
        (head.scale, [head.distance(z) for z in parts]),
        (head.energy_scale, [model.energy(z).patches for z in parts] if model.prior is None else []),
    ):
        if maps:
            patches = torch.cat(maps)
            scale.copy_(torch.stack([patches.mean(), patches.std().clamp_min(1e-6)]))


def train_guided_head(head: GuidedHead, examples: Examples, progress: Progress = SILENT) -> None:
    """NUM_STEPS of AdamW on the examples, under a one-cycle schedule."""
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, NUM_STEPS, pct_start=WARM_UP)
    head.train()
    for _ in counted(range(NUM_STEPS), progress):
        some, others = _draw(len(examples.synthetic), NUM_SYNTHETIC), _draw(len(examples.normal), NUM_NORMAL)
        maps = torch.cat([examples.synthetic[some], examples.normal[others]])
        normal_shares = torch.zeros_like(examples.normal[others, 0], dtype=torch.float32)
        labels = torch.cat([examples.labels[some], normal_shares])
        patches, shares = drawn_patches(head.context(maps.float()), labels)
        energy = head.layers(patches[:, :, None, None])[:, :, 0, 0].square().sum(dim=1).view(len(maps), -1)
        loss = guided_loss(energy, shares)
        if len(examples.anomalous):
            loss = loss + _of_labelled(head, examples.anomalous[_draw(len(examples.anomalous), NUM_LABELLED)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        optimizer.step()
        schedule.step()


def _draw(num_images: int, num_drawn: int) -> Tensor:
    return torch.randint(num_images, (num_drawn,))


def guided_loss(energy: PatchScores, shares: PatchScores, *, least: float = LEAST_COVERAGE) -> Scalar:
    """L_ae as a bound where it is normal, its complement where it is not."""
    covering = attention_bound_loss((-energy / 2).exp(), shares == 0, least=least)
    return COVERAGE_WEIGHT * covering + attention_shrinking_loss(energy, shares)


def drawn_patches(
    context: Float[Tensor, "batch context rows columns"], shares: ScoreMap
) -> tuple[Float[Tensor, "drawn context"], PatchScores]:
    """PATCHES_DRAWN patches of each image with their surroundings, half of them anomalous where there are as many.

    Also how much of each is anomalous. In a small image patches are drawn more than once.
    """
    context, shares = context.flatten(2), shares.flatten(1)
    repeats = -(-PATCHES_DRAWN // context.shape[2])
    columns = []
    for image in range(len(context)):
        order = torch.randperm(context.shape[2], device=context.device).repeat(repeats)
        is_bad = shares[image, order] > 0
        bad = order[is_bad][: PATCHES_DRAWN // 2]
        columns.append(torch.cat([bad, order[~is_bad], order[is_bad]])[:PATCHES_DRAWN])
    drawn = torch.stack(columns)
    patches = context.gather(2, drawn[:, None].expand(-1, context.shape[1], -1)).transpose(1, 2).flatten(0, 1)
    return patches, shares.gather(1, drawn)


def _of_labelled(head: GuidedHead, z: LatentMap) -> Scalar:
    """Where the anomaly is, nobody knows: the image's own most anomalous patches are to be called so."""
    return functional.softplus(-top_mean(head.cam(z.float()))).mean() / NUM_SYNTHETIC


@torch.no_grad()
def _latents(model: Cavga, images: NDArray[np.uint8], device: torch.device) -> LatentMap:
    """Mu of all images, in half precision."""
    maps = [model.encode(batch).mu.half() for batch in image_batches(images, device)]
    return torch.cat(maps) if maps else torch.zeros(0, model.mu_head.num_channels, *map_size_of(model), device=device)


def _synthetic_batch(
    model: Cavga, normal: NDArray[np.uint8], seed: int, device: torch.device, progress: Progress
) -> tuple[LatentMap, Float[Tensor, "synthetic rows columns"]]:
    """Mu of images with synthetic anomalies, and the share of every patch that is anomalous."""
    maps, labels = [], []
    synthetic = counted(synthetic_images(normal, seed), progress)
    while part := list(islice(synthetic, BATCH_SIZE)):
        maps.append(_latents(model, np.stack([image for image, _ in part]), device))
        pixels = torch.from_numpy(np.stack([label for _, label in part])).to(device)
        labels.append(functional.adaptive_avg_pool2d(pixels[:, None], map_size_of(model))[:, 0])
    return torch.cat(maps), torch.cat(labels)


def num_synthetic(num_normal: int) -> int:
    """How many synthetic anomalies are made on so many normal images."""
    return min(SYNTHETIC_PER_IMAGE * num_normal, MAX_SYNTHETIC)


def synthetic_images(normal: NDArray[np.uint8], seed: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Anomalies on the normal images in turn, every type as often; one that shows nothing is left out."""
    for _, synthetic in numbered_synthetic_images(normal, seed):
        yield synthetic


def numbered_synthetic_images(
    normal: NDArray[np.uint8], seed: int
) -> Iterator[tuple[int, tuple[NDArray[np.uint8], NDArray[np.float32]]]]:
    """As `synthetic_images`, each with the position of the image that it was made on."""
    for number in range(num_synthetic(len(normal))):
        rng = np.random.default_rng([seed, number])
        image, other = normal[number % len(normal)], normal[rng.integers(len(normal))]
        anomaly_type = SUBTLE_NAMES[rng.integers(len(SUBTLE_NAMES))]
        synthetic = synthesise_subtle_anomaly(np.asarray(image), np.asarray(other), anomaly_type, rng)
        if synthetic is not None:
            yield number % len(normal), synthetic
