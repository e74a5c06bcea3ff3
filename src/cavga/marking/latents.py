"""z of marked photographs, kept in RUN/marked_features.safetensors, so that a photograph is read once.

On a line photographs come and go: what was read for one refit is there for the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cavga.data.copies import read_as_hashed
from cavga.errors import DataError
from cavga.images.tiling import Tiling
from cavga.inference.torch_engine import TorchEngine
from cavga.model.cavga import Cavga
from cavga.progress import Progress, counted
from cavga.runs.checkpoint import load_tensors, save_tensors
from cavga.runs.marks_file import Mark
from cavga.runs.model_json import MARKED_FILE
from cavga.training.features import encoded, latent_sha256, thumbnails_of


@dataclass(frozen=True)
class MarkedLatents:
    """Of marked photographs z in half precision, size and thumbnail."""

    z: Float[Tensor, "marks latent rows columns"]
    sizes: Int[Tensor, "marks 2"]
    thumbnails: Int[Tensor, "marks grey_levels"]

    def of(self, positions: Sequence[int]) -> "MarkedLatents":
        """Those at some positions, in the order asked for."""
        return MarkedLatents(*(values[list(positions)] for values in vars(self).values()))

    @classmethod
    def joined(cls, a: "MarkedLatents", b: "MarkedLatents") -> "MarkedLatents":
        """Those of both."""
        return cls(*(torch.cat(pair) for pair in zip(vars(a).values(), vars(b).values(), strict=True)))


def latents_of_marks(
    run: Path, marks: Sequence[Mark], model: Cavga, engine: TorchEngine, tiling: Tiling, progress: Progress
) -> MarkedLatents:
    """Those of the marks, in order; raises DataError for a photograph that was not read before and is not there."""
    key = latent_sha256({f"model.{name}": value for name, value in model.state_dict().items()})
    known, kept = _kept(run, key)
    new = [mark for mark in marks if mark.sha256 not in known]
    progress.begin("marks", len(new), "photographs")
    if new:
        read = _read(list(counted(new, progress)), model, engine, tiling)
        kept = read if kept is None else MarkedLatents.joined(kept, read)
        known |= {mark.sha256: len(known) + i for i, mark in enumerate(new)}
        save_tensors(run / MARKED_FILE, vars(kept), {"latent_sha256": key, "sha256s": list(known)})
    assert kept is not None
    return kept.of([known[mark.sha256] for mark in marks])


def _kept(run: Path, key: str) -> tuple[dict[str, int], MarkedLatents | None]:
    """What earlier refits of a model with this encoder and latent read: positions by sha256, and z."""
    path = run / MARKED_FILE
    if not path.is_file():
        return {}, None
    tensors, record = load_tensors(path)
    if record.get("latent_sha256") != key:
        return {}, None
    return {sha256: i for i, sha256 in enumerate(record["sha256s"])}, MarkedLatents(**tensors)


def _read(marks: Sequence[Mark], model: Cavga, engine: TorchEngine, tiling: Tiling) -> MarkedLatents:
    images, sizes = [], []
    for mark in marks:
        try:
            photograph = read_as_hashed(Path(mark.path), mark.sha256, tiling.pixel_range)
        except DataError as error:
            raise DataError(f"{error} (it is marked: bring it back, or withdraw the mark with --withdraw)") from None
        tiling.check_fit((photograph.shape[0], photograph.shape[1]), mark.path)
        sizes.append(photograph.shape[:2])
        images.append(engine.resize(next(tiling.tiles(photograph))))
    pixels = np.stack(images)
    return MarkedLatents(encoded(model, pixels, engine.device), torch.tensor(sizes), thumbnails_of(pixels))
