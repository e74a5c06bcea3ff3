"""What an experiment is trained on: its folder below the data root, or a manifest with other training images.

Some defective images among the good ones (contamination), fewer of the good ones, all that are to spare, or one paper.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.table_8_and_weak import CONTAMINATION_SHARES
from cavga.data.catalog import load_catalog
from cavga.data.manifest import write_changed
from cavga.data.readers.lag import find_lag, spare_suspicious
from cavga.data.records import ANOMALOUS, NORMAL, ImageRecord
from cavga.errors import DataError, UsageError
from cavga.runs.model_json import MANIFEST_FILE


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
    num_reserved, num_added = (_num_anomalous(num_good, part) for part in (reserved_share, share))
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


def _num_anomalous(num_good: int, share: float) -> int:
    """How many bad images make `share` of good and bad ones together."""
    return round(num_good * share / (1 - share))


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


def of_paper(records: Sequence[ImageRecord], paper: str) -> tuple[ImageRecord, ...]:
    """The photographs of one of PIPED's papers, by their names: PAPER_SHEET_PART."""
    return tuple(record for record in records if record.path.name.startswith(f"{paper}_"))


def write_paper(data: Path, manifest: Path, *, paper: str) -> None:
    """Write the manifest of one of PIPED's papers."""
    records = of_paper(load_catalog(data).records, paper)
    if not records:
        raise DataError(f"{data} has no photographs of paper {paper}: expected names like {paper}_01_1.png")
    write_changed(manifest, records)


def data_of(experiment: Experiment, root: Path, output: Path) -> Path:
    """The experiment's folder below the data root, or a manifest below OUTPUT, which is written."""
    data, share, number = root / experiment.data, experiment.contamination, experiment.num_images
    if share is not None:
        manifest = _place(experiment, output, f"{100 * share:g} % bad")
        write_contaminated(data, manifest, share=share, reserved_share=max(CONTAMINATION_SHARES), seed=experiment.seed)
        return manifest
    if number is not None:
        manifest = _place(experiment, output, f"{number} images")
        write_subset(data, manifest, num_images=None if number == "all" else number, seed=experiment.seed)
        return manifest
    if experiment.paper is not None:
        manifest = _place(experiment, output, experiment.paper)
        write_paper(data, manifest, paper=experiment.paper)
        return manifest
    if experiment.with_spare:
        manifest = _place(experiment, output, "with spare images")
        write_with_spare(data, manifest)
        return manifest
    return data


def _place(experiment: Experiment, output: Path, what: str) -> Path:
    return output / "manifests" / experiment.data.replace("/", "-") / f"seed-{experiment.seed}" / what / MANIFEST_FILE
