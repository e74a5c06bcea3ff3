"""What a data set is to the rest of the package: records of images, with a label, a split and masks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cavga.errors import UsageError, unknown_name
from cavga.images.walk import PassedOver

SPLITS = ("train", "calibration", "test")
NORMAL, ANOMALOUS = 0, 1
SEVERITIES = ("error", "warning", "note")
TEST_SHARE = 0.2  # of the good images of each folder, where no split is given and there are bad ones to test with


@dataclass(frozen=True)
class ImageRecord:
    """One image: where it is, and what is known of it."""

    path: Path
    """Absolute."""
    relative_path: str
    """Relative to the catalog's root, with forward slashes; absolute where the image is not below it."""
    label: int | None
    """0 normal, 1 anomalous, None unknown."""
    split: str
    """One of SPLITS."""
    mask_paths: tuple[Path, ...] = ()
    """Together they are the mask; none means unknown, except that a normal image has no defect."""
    category: str | None = None
    group: str | None = None
    """Images of one group, such as copies of one photograph, stay on one side of every split and count as one."""
    defect_type: str | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing."""

    severity: str
    """One of SEVERITIES; an error stops training or leaves an image out of the evaluation."""
    path: str
    """Relative to the catalog's root; "." is the whole set."""
    problem: str
    remedy: str


@dataclass(frozen=True)
class Catalog:
    """Everything found in one data set; `records` are sorted by split and path (a manifest: as listed)."""

    root: Path
    layout: str
    category: str | None
    records: tuple[ImageRecord, ...]
    expects_masks: bool
    """Every anomalous test image should have a mask: ground_truth/ exists, a manifest names any mask, and so on."""
    orphan_masks: tuple[Path, ...] = ()
    missing: tuple[Path, ...] = ()
    """Files that a manifest names and that do not exist; a missing image has a record all the same."""
    skipped: tuple[Path, ...] = ()
    """Images that no rule of the layout takes, and copies by name: they have no record."""
    passed_over: tuple[PassedOver, ...] = ()
    """Files that are not read as images although they may hold photographs."""
    remarks: tuple[Finding, ...] = ()
    """What the reader of this layout noticed by itself."""

    @property
    def title(self) -> str:
        """The folder's name, and the category or normal class where it is another: "MNIST, 7"."""
        is_named = self.category in (None, self.root.name)
        return self.root.name if is_named else f"{self.root.name}, {self.category}"

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """The records of one split, in order."""
        if name not in SPLITS:
            raise unknown_name("split", name, SPLITS)
        return tuple(record for record in self.records if record.split == name)


def last_by_name(paths: Iterable[Path]) -> set[Path]:
    """TEST_SHARE of the images of each folder, its last ones: copies of one photograph are often neighbours by name."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(paths):
        by_folder[path.parent].append(path)
    counts = {folder: int(TEST_SHARE * len(found)) for folder, found in by_folder.items()}
    return {path for folder, found in by_folder.items() for path in found[len(found) - counts[folder] :]}


def with_test(records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Records whose split nobody gave: good ones train, bad and unlabelled ones are the test, with some of the good.

    Without any bad one nothing can be tested, and all good ones train. No group is cut.
    """
    good = [record for record in records if record.label == NORMAL]
    held = last_by_name(record.path for record in good)
    tied = {record.group for record in good if record.group is not None and record.path not in held}
    if all(record.label != ANOMALOUS for record in records):
        held = set()
    return tuple(
        replace(record, split="train" if record.label == NORMAL and (record.path not in held or record.group in tied)
                else "test")
        for record in records
    )  # fmt: skip


def split_in_words(records: Sequence[ImageRecord]) -> str:
    """What `with_test` made of records: "24 good images train; 6 good and 10 bad ones are the test"."""
    counts = Counter((record.split, record.label) for record in records)
    words = {NORMAL: "good", ANOMALOUS: "bad", None: "unlabelled"}
    tested = [f"{counts['test', label]} {word}" for label, word in words.items() if counts["test", label]]
    test = f"{', '.join(tested[:-1])}{' and ' if tested[1:] else ''}{tested[-1]} ones are" if tested else "nothing is"
    return f"{counts['train', NORMAL]} good images train; {test} the test"


def hold_out(
    records: Sequence[ImageRecord], *, fraction: float, seed: int
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """Cut normal training records into (train, calibration), both in their first order.

    No group is cut. Calibration gets at most `fraction` of the images, but at least one unit (an image
    or a whole group) as long as another is left to train on.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction to hold out: expected a number between 0 and 1, got {fraction}")
    units = _units(records)
    order = np.random.default_rng(seed).permutation(len(units))
    shuffled = [units[k] for k in order]
    held = _choose(shuffled, target=int(fraction * len(records) + 0.5)) if len(units) >= 2 else set()
    train = tuple(record for i, record in enumerate(records) if i not in held)
    return train, tuple(record for i, record in enumerate(records) if i in held)


def folds(records: Sequence[ImageRecord], *, num_folds: int, seed: int) -> list[list[int]]:
    """Positions of the records in at most `num_folds` parts of about one size; no group is cut."""
    units = _units(records)
    order = np.random.default_rng(seed).permutation(len(units))
    parts: list[list[int]] = [[] for _ in range(min(num_folds, len(units)))]
    for k in order:
        min(parts, key=len).extend(units[k])
    return [sorted(part) for part in parts]


def draw_anomalous(records: Sequence[ImageRecord], *, fraction: float, seed: int) -> tuple[ImageRecord, ...]:
    """Draw `fraction` of anomalous records to train on, at least one, sorted by path; none of none.

    Their order does not matter. No group is cut: whole ones are drawn until there are enough.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction to draw: expected a number between 0 and 1, got {fraction}")
    in_order = sorted(records, key=lambda record: record.relative_path)
    units = _units(in_order)
    target = max(1, round(fraction * len(in_order)))
    drawn: list[int] = []
    for k in np.random.default_rng(seed).permutation(len(units)):
        if len(drawn) >= target:
            break
        drawn += units[k]
    return tuple(in_order[i] for i in sorted(drawn))


def unit_numbers(records: Sequence[ImageRecord]) -> list[int]:
    """Which unit each record belongs to, counted from 0: an image, or all images of a group."""
    numbers = np.zeros(len(records), dtype=np.intp)
    for number, positions in enumerate(_units(records)):
        numbers[positions] = number
    return numbers.tolist()


def _units(records: Sequence[ImageRecord]) -> list[list[int]]:
    """Positions that stay together: one image, or all images of a group."""
    units: dict[str | int, list[int]] = {}
    for i, record in enumerate(records):
        units.setdefault(i if record.group is None else record.group, []).append(i)
    return list(units.values())


def _choose(units: list[list[int]], *, target: int) -> set[int]:
    """Take units in order as long as they fit into `target`; the smallest one if none does."""
    chosen: set[int] = set()
    num_taken = 0
    for unit in units:
        if len(chosen) + len(unit) <= target and num_taken < len(units) - 1:
            chosen.update(unit)
            num_taken += 1
    smallest: list[int] = min(units, key=len)
    return chosen or set(smallest)
