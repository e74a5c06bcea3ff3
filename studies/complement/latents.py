"""What every way of the study reads of a set: z of photographs, of synthetic anomalies, of made ones to choose on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from cavga.data.dataset import TrainingImages, image_batches
from cavga.model.build import map_size_of
from cavga.model.cavga import Cavga
from cavga.model.prior import Energies
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, SIZES, synthesise_controlled_anomaly
from cavga.training.factor_model import factors
from cavga.training.fit_guided_head import choose_left_out, numbered_synthetic_images
from cavga.training.fit_prior import all_flattened, energies_by, fit_aggregated_prior, fitted_prior
from studies.complement.pixels import Pixels
from studies.fitted import fitted_model

CPU = torch.device("cpu")
NUM_FOLDS = 5
MADE_PER_IMAGE = 4


@dataclass(frozen=True)
class Latents:
    """z in half precision, masks at the input size, and energies by priors that had not seen the image.

    Heads are trained on the `seen` normal images and on the `synthetic` ones, whose `sources` are positions among the
    seen. `made` are anomalies of the self-test's kinds on the `held` images: settings are chosen on those. The prior of
    held and made is fitted to the seen alone; that of the test to all, as a run's is.
    """

    seen: Float[Tensor, "seen latent rows columns"]
    held: Float[Tensor, "held latent rows columns"]
    synthetic: Float[Tensor, "synthetic latent rows columns"]
    labels: Float[Tensor, "synthetic rows columns"]
    sources: Int[Tensor, " synthetic"]
    made: Float[Tensor, "made latent rows columns"]
    made_masks: Bool[Tensor, "made height width"]
    test: Float[Tensor, "test latent rows columns"]
    is_bad: Bool[Tensor, " test"]
    masks: Bool[Tensor, "masks height width"]
    held_energies: Energies
    made_energies: Energies
    train_energies: Energies
    test_energies: Energies


def latents_of(pixels: Pixels, seed: int, cache: Path) -> Latents:
    """Those of a set, kept in `cache`."""
    path = cache / f"complement-{pixels.name.replace('/', '-')}-{seed}.safetensors"
    if not path.is_file():
        save_file(_as_tensors(latents_by(fitted_model(pixels.config, pixels.train), pixels, seed)), path)
    return _from_tensors(load_file(path))


@torch.no_grad()
def latents_by(model: Cavga, pixels: Pixels, seed: int) -> Latents:
    """Those that a model gives, whatever its encoder has learnt."""
    is_held = choose_left_out(len(pixels.train), seed)
    seen, held = pixels.train[~is_held], pixels.train[is_held]
    sources, synthetic = zip(*numbered_synthetic_images(seen, seed), strict=True)
    images, shares = zip(*synthetic, strict=True)
    labels = torch.from_numpy(np.stack(shares))[:, None]
    made, made_masks = zip(*made_on(held, seed), strict=True)
    z_seen, z_held, z_test = (encoded(model, some) for some in (seen, held, pixels.test))
    z_made = encoded(model, np.stack(made))
    of_seen = fitted_prior(z_seen, factors(all_flattened(z_seen)), seed)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(pixels.train)), NUM_FOLDS)
    training = TrainingImages(pixels.train, len(pixels.train))
    measured = fit_aggregated_prior(model, training, [part.tolist() for part in parts], seed=seed, device=CPU)
    assert model.prior is not None
    masks = np.zeros((0, *pixels.test.shape[1:3]), dtype=np.bool_) if pixels.masks is None else pixels.masks
    return Latents(
        z_seen, z_held, encoded(model, np.stack(images)),
        functional.adaptive_avg_pool2d(labels, map_size_of(model))[:, 0], torch.tensor(sources),
        z_made, torch.from_numpy(np.stack(made_masks)),
        z_test, torch.from_numpy(pixels.is_bad), torch.from_numpy(masks),
        energies_by(of_seen, z_held), energies_by(of_seen, z_made), measured.energies, energies_by(model.prior, z_test),
    )  # fmt: skip


def encoded(model: Cavga, images: NDArray[np.uint8]) -> Float[Tensor, "images latent rows columns"]:
    """Mu in half precision."""
    return torch.cat([model.encode(batch).mu.half() for batch in image_batches(images, CPU)])


def made_on(held: NDArray[np.uint8], seed: int) -> Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Anomalies of the self-test's kinds on images, and their masks."""
    made = []
    for number in range(MADE_PER_IMAGE * len(held)):
        rng = np.random.default_rng([seed, number, 1])
        kind, size, contrast = rng.choice(CONTROLLED_NAMES), rng.choice(SIZES), rng.choice(CONTRASTS)
        image = np.asarray(held[number % len(held)])
        found = synthesise_controlled_anomaly(image, str(kind), size=float(size), contrast=float(contrast), rng=rng)
        if found is not None:
            made.append(found)
    return made


def _as_tensors(latents: Latents) -> dict[str, Tensor]:
    tensors = {}
    for item in fields(latents):
        value = getattr(latents, item.name)
        if isinstance(value, Tensor):
            tensors[item.name] = value.contiguous()
        else:
            tensors |= {f"{item.name}/{name}": part.contiguous() for name, part in vars(value).items()}
    return tensors


def _from_tensors(tensors: dict[str, Tensor]) -> Latents:
    names = {name.partition("/")[0] for name in tensors if "/" in name}
    parts = ("local", "flat", "flat_score")
    energies = {name: Energies(*(tensors[f"{name}/{part}"] for part in parts)) for name in names}
    return Latents(**{name: value for name, value in tensors.items() if "/" not in name}, **energies)
