"""What a refit needs of the training images, so that the photographs need not be there: z, folds, units, thumbnails.

It lies in the run folder as features.safetensors, z in half precision: 256 KB an image at 256 px, of 262 MB at most
(1000 images at 256 px, 444 at 384), and of the anomalies that are made on some of them to see what a refit costs.
Beside it lie the energies that training measured, 8 KB an image: as long as no photograph is marked good, the prior
need not be fitted again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cavga.arrays import Size
from cavga.config.schema import RunConfig
from cavga.data.copies import thumbnail_of
from cavga.data.dataset import TrainingImages, image_batches
from cavga.errors import ModelFileError
from cavga.inference.graph import InferenceGraph
from cavga.inference.torch_engine import ENCODER_PREFIX
from cavga.model.cavga import Cavga
from cavga.model.prior import Energies
from cavga.runs.checkpoint import load_tensors, save_tensors, tensors_sha256
from cavga.runs.model_json import FEATURES_FILE
from cavga.shapes import LatentMap
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, SIZES, synthesise_controlled_anomaly
from cavga.training.fit import unseen_by_guided_head
from cavga.training.fit_prior import CrossFitEnergies, Folds

MAX_MADE = 64  # anomalies of the self-test's kinds
LATENT_PARTS = (ENCODER_PREFIX, "model.mu_head.")  # whose tensors z follows from
PRIOR_PARTS = ("model.prior.",)


@dataclass(frozen=True)
class Features:
    """Of normal images z, size of the photograph, thumbnail, fold, unit, and whether its map counts; z of made ones.

    A map sets the mask's threshold where the guided head has not seen its image. The energies are those of the training
    images alone, by priors that lack their fold.
    """

    z: Float[Tensor, "images latent rows columns"]
    sizes: Int[Tensor, "images 2"]
    thumbnails: Int[Tensor, "images grey_levels"]
    folds: Int[Tensor, " images"]
    units: Int[Tensor, " images"]
    sets_mask: Bool[Tensor, " images"]
    made: Float[Tensor, "made latent rows columns"]
    local: Float[Tensor, "trained rows columns"]
    flat: Float[Tensor, "trained rows columns"]
    flat_score: Float[Tensor, " trained"]

    @property
    def energies(self) -> Energies:
        """Of the training images."""
        return Energies(self.local, self.flat, self.flat_score)

    def __len__(self) -> int:
        return len(self.z)


@torch.no_grad()
def features_of(
    model: Cavga,
    images: TrainingImages,
    config: RunConfig,
    parts: Folds,
    held_out: CrossFitEnergies,
    sizes: Sequence[Size],
) -> Features:
    """Those of the images that the prior was fitted to; `parts` are the folds of all, `sizes` their photographs'."""
    chosen, device = held_out.fitted_to.images, next(model.parameters()).device
    folds = np.zeros(images.num_normal, dtype=np.int64)
    for number, part in enumerate(parts):
        folds[np.array(part, dtype=np.intp)] = number
    is_unseen = unseen_by_guided_head(images, config, held_out)
    sets_mask = is_unseen if config.model.supervision == "s" else np.ones_like(is_unseen)
    normal = images.normal
    made = list(_made(normal, chosen, config.training.seed))
    energies = held_out.energies.of(torch.from_numpy(np.searchsorted(held_out.images, chosen)))
    return Features(
        z=held_out.fitted_to.z.cpu(),
        sizes=torch.tensor(sizes)[torch.from_numpy(chosen)],
        thumbnails=thumbnails_of(normal[chosen]),
        folds=torch.from_numpy(folds[chosen]),
        units=torch.from_numpy(images.unit_of[chosen].astype(np.int64)),
        sets_mask=torch.from_numpy(sets_mask[chosen]),
        made=encoded(model, np.stack(made), device) if made else held_out.fitted_to.z[:0].cpu(),
        local=energies.local.cpu(),
        flat=energies.flat.cpu(),
        flat_score=energies.flat_score.cpu(),
    )


def encoded(model: Cavga, images: NDArray[np.uint8], device: torch.device) -> LatentMap:
    """Mu of images at the input size, in half precision, on the processor."""
    with torch.no_grad():
        return torch.cat([model.encode(batch).mu.half().cpu() for batch in image_batches(images, device)])


def _made(normal: NDArray[np.uint8], chosen: NDArray[np.intp], seed: int) -> Iterator[NDArray[np.uint8]]:
    """Images with an anomaly of the self-test's kinds, on images from everywhere; what shows nothing is left out."""
    for number in range(MAX_MADE):
        rng = np.random.default_rng([seed, number])
        image = np.asarray(normal[chosen[number * len(chosen) // MAX_MADE]])
        kind, size, contrast = (rng.choice(values) for values in (CONTROLLED_NAMES, SIZES, CONTRASTS))
        found = synthesise_controlled_anomaly(image, str(kind), size=float(size), contrast=float(contrast), rng=rng)
        if found is not None:
            yield found[0]


def save_features(run: Path, features: Features | None, graph: InferenceGraph) -> None:
    """Write RUN/features.safetensors, whole; with None remove that of an earlier training."""
    if features is None:
        (run / FEATURES_FILE).unlink(missing_ok=True)
        return
    tensors = graph.state_dict()
    record = {"latent_sha256": latent_sha256(tensors), "prior_sha256": _sha256_of(tensors, PRIOR_PARTS)}
    save_tensors(run / FEATURES_FILE, vars(features), record)


def load_features(run: Path, tensors: Mapping[str, Tensor]) -> tuple[Features, bool]:
    """Those of a run whose model has these tensors, and whether its prior is that of the training.

    Raises ModelFileError for features of another model.
    """
    path = run / FEATURES_FILE
    found, record = load_tensors(path)
    names = {item.name for item in fields(Features)}
    if set(found) != names or record.get("latent_sha256") != latent_sha256(tensors):
        raise ModelFileError(f"{path} belongs to another model than {run} has now; train it again")
    return Features(**found), record.get("prior_sha256") == _sha256_of(tensors, PRIOR_PARTS)


def thumbnails_of(images: NDArray[np.uint8]) -> Int[Tensor, "images grey_levels"]:
    """By which near-copies are found, of images at the input size."""
    return torch.from_numpy(np.stack([thumbnail_of(np.asarray(image)) for image in images]).astype(np.int32))


def latent_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The hash of a graph's encoder and of what makes z of its features."""
    return _sha256_of(tensors, LATENT_PARTS)


def _sha256_of(tensors: Mapping[str, Tensor], parts: tuple[str, ...]) -> str:
    return tensors_sha256({name: value for name, value in tensors.items() if name.startswith(parts)})
