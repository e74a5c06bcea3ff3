"""Data sets with other training images: fewer normal ones, for curves, or LAG's spare suspicious ones. No torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cavga.data.catalog import load_catalog
from cavga.data.manifest import write_changed
from cavga.data.readers.lag import find_lag, spare_suspicious
from cavga.data.records import NORMAL, ImageRecord
from cavga.errors import DataError, UsageError


def draw_subset(records: Sequence[ImageRecord], num_images: int | None, *, seed: int) -> tuple[ImageRecord, ...]:
    """Keep so many of the normal training images, drawn by the seed; None keeps all. All others stay.

    Those of a smaller number are among those of a larger one. Raises DataError where there are not so many.
    """
    normal = sorted(
        (record for record in records if record.split == "train" and record.label == NORMAL),
        key=lambda record: record.relative_path,
    )
    if num_images is None:
        return tuple(records)
    if num_images < 1:
        raise UsageError(f"number of training images: expected at least 1, got {num_images}")
    if num_images > len(normal):
        raise DataError(f"{num_images} normal training images are asked for, and there are {len(normal)}")
    order = np.random.default_rng(seed).permutation(len(normal))
    gone = {normal[k].path for k in order[num_images:]}
    return tuple(record for record in records if record.path not in gone)


def write_subset(data: Path, manifest: Path, *, num_images: int | None, seed: int) -> None:
    """Write the manifest of `data` after `draw_subset`."""
    write_changed(manifest, draw_subset(load_catalog(data).records, num_images, seed=seed))


def write_with_spare(data: Path, manifest: Path) -> None:
    """Write the manifest of LAG with the suspicious images that its split leaves over as labelled training images."""
    root = find_lag(data)
    if root is None:
        raise DataError(f"{data} is not LAG: expected non_glaucoma/image and suspicious_glaucoma/image in it")
    write_changed(manifest, [*load_catalog(data).records, *spare_suspicious(root)])
