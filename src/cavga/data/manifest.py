"""Manifests: a .csv with one image per line, as users write it and as every run leaves it behind."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cavga.atomic_files import atomic_write
from cavga.data.folder_names import GOOD, meaning, split_of
from cavga.data.records import (
    ANOMALOUS,
    NORMAL,
    SPLITS,
    Catalog,
    Finding,
    ImageRecord,
    split_in_words,
    with_test,
)
from cavga.data.tables import HASH_COLUMN, MANIFEST_COLUMNS, Line, Table, label_of, read_table
from cavga.errors import DataError, UsageError, unknown_name
from cavga.regular_files import open_regular


def load_manifest(path: Path, *, category: str | None) -> Catalog:
    """Read a manifest by the rules of docs; files that do not exist are collected, not raised."""
    root = path.parent
    table = read_table(path)
    is_split, marks_good = _is_split(table.lines), any(label_of(row["label"]) == NORMAL for _, row in table.lines)
    chosen = _one_category(path, table.lines, category)
    # Of one that is asked for: lines without a category are of another one.
    lines = [(line, row) for line, row in table.lines if category in (None, row["category"])]
    listed = [_record(row, root, f"{path}, line {line}", marks_good=marks_good) for line, row in lines]
    if not is_split:
        listed = list(with_test(listed))
    files = {file for record in listed for file in (record.path, *record.mask_paths)}
    absent = {file for file in files if not _is_file(file)}
    missing = tuple(sorted(absent))
    if all(record.path in absent for record in listed):
        raise _no_images(path, missing)
    return Catalog(
        root=root,
        layout="manifest",
        category=chosen,
        records=tuple(listed),
        expects_masks=any(record.mask_paths for record in listed if record.split == "test"),
        missing=missing,
        remarks=tuple(_remarks(path.name, table, listed, is_split=is_split)),
    )


def _is_split(lines: Sequence[Line]) -> bool:
    """Whether any line says its split; where none does, and no label either, all images are good ones to train on."""
    return any(row["split"] for _, row in lines) or not any(row["label"] or row["defect_type"] for _, row in lines)


def _remarks(name: str, table: Table, records: Sequence[ImageRecord], *, is_split: bool) -> Iterator[Finding]:
    """What was made of the columns, in a line each."""
    if not is_split:
        problem = f"gives no split: {split_in_words(records)}"
        yield Finding("note", name, problem, "fill in a column split (train, calibration, test) to choose")
    num_unlabelled = sum(record.label is None for record in records)
    if not is_split and num_unlabelled:
        problem = f"{num_unlabelled} images have no label and are not trained on"
        yield Finding("warning", name, problem, "write good or bad in column label")
    unused = ", ".join(table.unused)
    if unused and "label" not in table.columns:
        problem = f"has no column label, so all images are taken as good ({unused} not used)"
        yield Finding("warning", name, problem, "call the column label that says good or bad")
    elif unused:
        yield Finding("note", name, f"columns that are not used: {unused}", "nothing to do")


def write_manifest(path: Path, records: Sequence[ImageRecord], root: Path, hashes: Mapping[str, str]) -> None:
    """Write `records` with paths relative to `root`; `hashes` has the sha256 of every relative_path."""
    text = io.StringIO()
    has_returns = any("\r" in record.relative_path for record in records)  # which csv itself would not put in quotes
    table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL)
    table.writerow([*MANIFEST_COLUMNS, HASH_COLUMN])
    for record in records:
        table.writerow(
            [
                relative_to_root(record.path, root),
                "" if record.label is None else record.label,
                ";".join(relative_to_root(mask, root) for mask in record.mask_paths),
                record.split,
                record.category or "",
                record.group or "",
                record.defect_type or "",
                hashes[record.relative_path],
            ]
        )
    atomic_write(path, text.getvalue().encode(errors="surrogateescape"))


def write_changed(path: Path, records: Sequence[ImageRecord]) -> None:
    """Write the manifest of changed records: paths are absolute unless `path` lies above the images."""
    hashes = {record.relative_path: sha256_of(record.path) for record in records}
    write_manifest(path, records, path.absolute().parent, hashes)


def read_manifest_hashes(path: Path) -> dict[str, str]:
    """sha256 -> split of every image that a run's manifest.csv lists."""
    return {row[HASH_COLUMN]: row["split"] for _, row in read_table(path).lines if row[HASH_COLUMN]}


def read_manifest_paths(path: Path) -> list[str]:
    """The path, relative to the data's folder, of every image that a run's manifest.csv lists."""
    return [row["image"] for _, row in read_table(path).lines]


def sha256_of(path: Path) -> str:
    """The hash of a file's content, as 64 hexadecimal digits."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error


def relative_to_root(path: Path, root: Path) -> str:
    """`path` with forward slashes, relative to `root` where it is below it, else as it is."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _record(row: Mapping[str, str], root: Path, place: str, *, marks_good: bool) -> ImageRecord:
    """One line; `marks_good`: others are labelled good, so that no label means that nobody knows."""
    if not row["image"].strip():
        raise DataError(f"{place}: no image; give its path or remove the line")
    split = split_of(row["split"] or "train")
    if split is None:
        raise DataError(f"{place}: unknown split {row['split']!r}; expected one of {', '.join(SPLITS)}")
    path = _named(row["image"], root)
    masks = [row["mask"]] if _is_file(root / row["mask"]) else [text for text in row["mask"].split(";") if text.strip()]
    label = _label(row, split, place)
    return ImageRecord(
        path=path,
        relative_path=relative_to_root(path, root),
        label=None if label == NORMAL and marks_good and not (row["label"] or row["split"]) else label,
        split=split,
        mask_paths=tuple(_named(text, root) for text in masks),
        category=row["category"] or None,
        group=row["group"] or None,
        defect_type=row["defect_type"] or None,
    )


def _label(row: Mapping[str, str], split: str, place: str) -> int | None:
    text, defect = row["label"], row["defect_type"]
    if not text and defect and not row[HASH_COLUMN]:
        text = "0" if meaning(defect) == GOOD else "1"
    if not text:
        return None if split == "test" else NORMAL
    label = label_of(text)
    if label is None:
        raise DataError(
            f"{place}: label {text!r}; expected 0, good or ok (normal), 1, bad or ng (anomalous) or nothing; the kind "
            "of a defect goes into column defect_type"
        )
    if split == "calibration" and label == ANOMALOUS:
        raise DataError(
            f"{place}: a bad image (label {text}) in split {row['split']}; thresholds are set on good images alone: "
            "give it split test"
        )
    return label


def _absolute(text: str, root: Path) -> Path:
    return Path(os.path.normpath(root / text.replace("\\", "/")))


def _named(text: str, root: Path) -> Path:
    """The file that a cell names: as it is written if there is one, else without blanks at its ends.

    Where neither is there, its path may begin with the manifest's folder itself, here or on another machine.
    """
    as_written = root / text
    path = Path(os.path.normpath(as_written)) if _is_file(as_written) else _absolute(text.strip(), root)
    if _is_file(path):
        return path
    parts = text.strip().replace("\\", "/").split("/")
    is_elsewhere = parts[0] == "" or parts[0].endswith(":")
    below = [i + 1 for i, part in enumerate(parts) if part == root.name and (i == 0 or is_elsewhere)]
    inside = (root.joinpath(*parts[i:]) for i in below)
    return next(filter(_is_file, inside), path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a character that no name has
        return False


def alike_by_case(path: Path) -> str | None:
    """What to say of a missing file whose name, or a folder's on the way, is there in other case; None if none is."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    for name in path.relative_to(there).parts:
        try:
            alike = [item.name for item in there.iterdir() if item.name.casefold() == name.casefold()]
        except OSError:
            return None
        if not alike:
            return None
        there /= name if name in alike else alike[0]
    return f"{there} exists: write capital and small letters as there"


def _one_category(path: Path, lines: Sequence[Line], category: str | None) -> str | None:
    names = sorted({row["category"] for _, row in lines if row["category"]})
    if category is not None and category not in names:
        if names:
            raise unknown_name("category", category, names)
        raise UsageError(f"unknown category {category!r}: {path} names none; leave the category out")
    if category is None and len(names) > 1:
        raise UsageError(f"{path} holds several categories, choose one: {', '.join(names)}")
    return category or (names[0] if names else None)


def _no_images(path: Path, missing: Sequence[Path]) -> DataError:
    if not missing:
        return DataError(f"{path}: lists no images; add a line for each")
    remedy = alike_by_case(missing[0]) or "paths are relative to the manifest's folder"
    return DataError(f"{path}: none of the images it lists exists, the first is {missing[0]}; {remedy}")
