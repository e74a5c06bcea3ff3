"""Manifests: a .csv with one image per line, as users write it and as every run leaves it behind."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cavga.atomic_files import atomic_write
from cavga.data.records import ANOMALOUS, NORMAL, SPLITS, Catalog, ImageRecord
from cavga.errors import DataError, UsageError, unknown_name
from cavga.regular_files import open_regular, read_regular

MANIFEST_COLUMNS = ("image", "label", "mask", "split", "category", "group", "defect_type")
HASH_COLUMN = "sha256"  # written by every run; accepted and not used when read as data
_AS_WRITTEN = (["image"], ["mask"])
_LABELS = {"0": NORMAL, "1": ANOMALOUS, "0.0": NORMAL, "1.0": ANOMALOUS}  # floats: pandas, once one is empty


def load_manifest(path: Path, *, category: str | None) -> Catalog:
    """Read a manifest by the rules of docs; files that do not exist are collected, not raised."""
    root = path.parent
    listed = [_record(row, root, f"{path}, line {line}") for line, row in _rows(path)]
    chosen = _one_category(path, listed, category)
    if category is not None:  # asked for: lines without a category are of another one
        listed = [record for record in listed if record.category == category]
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
    )


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
    return {row[HASH_COLUMN]: row["split"] for _, row in _rows(path) if row[HASH_COLUMN]}


def read_manifest_paths(path: Path) -> list[str]:
    """The path, relative to the data's folder, of every image that a run's manifest.csv lists."""
    return [row["image"] for _, row in _rows(path)]


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


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of every line that is not empty; all columns are there.

    Blanks around a text are left out, but for names of files: those may begin and end with them.
    """
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        _check_columns(columns, path)
        for cells in reader:
            texts = [cell if columns[i : i + 1] in _AS_WRITTEN else cell.strip() for i, cell in enumerate(cells)]
            if len(texts) > len(columns) and any(texts[len(columns) :]):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(texts)} cells, but {len(columns)} columns; "
                    "put a path that has a comma in quotes"
                )
            if any(text.strip() for text in texts):
                row = dict.fromkeys((*MANIFEST_COLUMNS, HASH_COLUMN), "")
                yield reader.line_num, row | dict(zip(columns, texts, strict=False))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}; mend that line") from error


def _text(path: Path) -> str:
    try:
        content = read_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
    # What a run wrote names files by their bytes; what a program saved in another encoding does not.
    is_of_run = HASH_COLUMN.encode() in content.partition(b"\n")[0]
    try:
        return content.decode("utf-8-sig", "surrogateescape" if is_of_run else "strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; save it as 'CSV UTF-8'") from error


def _separator(text: str) -> str:
    """What separates the cells: where a comma is the decimal sign, spreadsheets write semicolons."""
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _check_columns(columns: list[str], path: Path) -> None:
    known = (*MANIFEST_COLUMNS, HASH_COLUMN)
    for name in columns:
        if name not in known:
            raise DataError(
                f"{path}, line 1: unknown column {name!r}; expected {','.join(known)} (separated by commas)"
            )
        if columns.count(name) > 1:
            raise DataError(f"{path}, line 1: column {name!r} is there twice; remove one")
    if "image" not in columns:
        raise DataError(f"{path}, line 1: no column 'image'; the first line must name the columns")


def _record(row: Mapping[str, str], root: Path, place: str) -> ImageRecord:
    if not row["image"].strip():
        raise DataError(f"{place}: no image; give its path or remove the line")
    split = row["split"] or "train"
    if split not in SPLITS:
        raise DataError(f"{place}: unknown split {split!r}; expected one of {', '.join(SPLITS)}")
    path = _named(row["image"], root)
    masks = [row["mask"]] if _is_file(root / row["mask"]) else [text for text in row["mask"].split(";") if text.strip()]
    return ImageRecord(
        path=path,
        relative_path=relative_to_root(path, root),
        label=_label(row["label"], split, place),
        split=split,
        mask_paths=tuple(_named(text, root) for text in masks),
        category=row["category"] or None,
        group=row["group"] or None,
        defect_type=row["defect_type"] or None,
    )


def _label(text: str, split: str, place: str) -> int | None:
    if not text:
        return None if split == "test" else NORMAL
    if text not in _LABELS:
        raise DataError(f"{place}: label {text!r}; expected 0 (normal), 1 (anomalous) or nothing")
    if split == "calibration" and _LABELS[text] == ANOMALOUS:
        raise DataError(f"{place}: label 1 in split calibration; thresholds are set on normal images alone")
    return _LABELS[text]


def _absolute(text: str, root: Path) -> Path:
    return Path(os.path.normpath(root / text.replace("\\", "/")))


def _named(text: str, root: Path) -> Path:
    """The file that a cell names: as it is written if there is one, else without blanks at its ends."""
    as_written = root / text
    return Path(os.path.normpath(as_written)) if _is_file(as_written) else _absolute(text.strip(), root)


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


def _one_category(path: Path, records: Sequence[ImageRecord], category: str | None) -> str | None:
    names = sorted({record.category for record in records if record.category is not None})
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
