"""Training sets in which some images labelled good are not: anomalous test images moved there. No torch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cavga.data.catalog import load_catalog
from cavga.data.manifest import write_changed
from cavga.data.records import ANOMALOUS, NORMAL, ImageRecord
from cavga.errors import DataError, UsageError


def contaminate(
    records: Sequence[ImageRecord], *, share: float, reserved_share: float, seed: int
) -> tuple[ImageRecord, ...]:
    """Add anomalous test images, labelled good, to the training images until they are `share` of them.

    What `reserved_share` would take leaves the test in any case, so that every share up to it is tested
    on the same images; the images of a smaller share are part of those of a larger one.
    """
    if not 0 <= share <= reserved_share < 1:
        raise UsageError(
            f"share of bad training images: expected 0 <= share <= {reserved_share} (the largest) < 1, got {share}"
        )
    num_good = sum(record.split == "train" and record.label == NORMAL for record in records)
    bad = sorted(
        (record for record in records if record.split == "test" and record.label == ANOMALOUS),
        key=lambda record: record.relative_path,
    )
    num_reserved, num_added = (_num_bad(num_good, part) for part in (reserved_share, share))
    if num_reserved >= len(bad):
        raise DataError(
            f"{num_reserved} anomalous test images are needed for {reserved_share:.0%} of the training images, and "
            f"one to test with: there are {len(bad)}"
        )
    reserved = [bad[k] for k in np.random.default_rng(seed).permutation(len(bad))[:num_reserved]]
    added = [
        replace(record, split="train", label=NORMAL, mask_paths=(), defect_type=None) for record in reserved[:num_added]
    ]
    gone = {record.path for record in reserved}
    return (*(record for record in records if record.path not in gone), *added)


def write_contaminated(data: Path, manifest: Path, *, share: float, reserved_share: float, seed: int) -> None:
    """Write the manifest of `data` after `contaminate`; its paths are absolute unless it lies above the images."""
    records = contaminate(load_catalog(data).records, share=share, reserved_share=reserved_share, seed=seed)
    write_changed(manifest, records)


def _num_bad(num_good: int, share: float) -> int:
    """How many bad images make `share` of good and bad ones together."""
    return round(num_good * share / (1 - share))
