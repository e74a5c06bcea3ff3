"""Write a manifest of magnetic tile in which no place is on both sides of the split.

python -m studies.tile_groups ROOT/magnetic_tile MANIFEST.csv

A file expN_num_M shows one place under exposure N (mostly 1 to 6), and the exposures of a place have neighbouring
numbers M. A group is a maximal run of numbers of which no two neighbours are more than MAX_GAP apart. Training
images of a group that also has a test image, good or bad, are left out; the test set stays as it is, so that its
figures can be compared. What is left has its group in the manifest, so that training cuts no group for calibration.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cavga.data.catalog import load_catalog
from cavga.data.manifest import sha256_of, write_manifest
from cavga.data.records import ANOMALOUS, ImageRecord

# Images up to 200 numbers apart and of rising exposure look alike (median correlation of their high-passed
# thumbnails 0.7 to 0.8 below 120, 0.55 from 150 to 200), those from 200 on do not (0.08). Places whose numbers
# interleave cannot be told apart by them and become one group: too large rather than too small.
MAX_GAP = 200
NAME = re.compile(r"exp(\d+)_num_(\d+)")


def main() -> None:
    """Write the manifest and print what was left out."""
    print(write_grouped(Path(sys.argv[1]), Path(sys.argv[2])))


def write_grouped(data: Path, manifest: Path) -> str:
    """Write the manifest of the data without what is on both sides; returns what was left out, in words."""
    records = with_groups(load_catalog(data).records)
    kept = without_shared(records)
    write_manifest(manifest, kept, manifest.absolute().parent, {r.relative_path: sha256_of(r.path) for r in kept})
    return summary(records, kept)


def with_groups(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The records with the group that their file name tells; images of other names belong to none."""
    groups = groups_of(n for record in records if (n := number(record)) is not None)
    return [replace(record, group=None if (n := number(record)) is None else groups[n]) for record in records]


def number(record: ImageRecord) -> int | None:
    """M of expN_num_M."""
    found = NAME.fullmatch(record.path.stem)
    return int(found[2]) if found else None


def groups_of(numbers: Iterable[int]) -> dict[int, str]:
    """The group of every number, named after the lowest of its run."""
    groups: dict[int, str] = {}
    first = previous = 0
    for n in sorted(set(numbers)):
        if not groups or n - previous > MAX_GAP:
            first = n
        groups[n], previous = f"place-{first}", n
    return groups


def without_shared(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Without the training images of a group that has a test image too."""
    tested = {record.group for record in records if record.split == "test" and record.group}
    return [record for record in records if record.split == "test" or record.group not in tested]


def summary(records: Sequence[ImageRecord], kept: Sequence[ImageRecord]) -> str:
    """How many images and groups there are, and how many training images stay."""
    sizes = Counter(record.group for record in records if record.group)
    trained = [record for record in records if record.split == "train"]
    remaining = [record for record in kept if record.split == "train"]
    of_good = {record.group for record in records if record.split == "test" and record.label != ANOMALOUS}
    shared = [record for record in trained if record.group in of_good]
    return (
        f"{len(records)} images in {len(sizes)} groups, the largest of {max(sizes.values(), default=0)}; of "
        f"{len(trained)} training images {len(remaining)} stay, in {len({r.group for r in remaining})} groups; of the "
        f"{len(trained) - len(remaining)} left out {len(shared)} share a group with a good test image"
    )


if __name__ == "__main__":
    main()
