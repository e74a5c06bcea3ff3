"""`cavga mark`: photographs called bad or good, written to RUN/marks.csv: all of a call, or none of it. No torch."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cavga.data.catalog import load_catalog
from cavga.data.copies import read_once
from cavga.data.manifest import read_manifest_hashes, sha256_of
from cavga.data.records import ANOMALOUS, ImageRecord
from cavga.data.tables import label_of, read_table
from cavga.errors import DataError, UsageError
from cavga.images.tiling import Tiling, tiling_of
from cavga.images.walk import images_of
from cavga.inference.lines import json_lines
from cavga.output_lock import writing_to
from cavga.runs.marks_file import BAD, GOOD, WITHDRAWN, Mark, marks_in_force, read_marks, write_marks
from cavga.runs.model_json import MANIFEST_FILE, load_description, require_features

LINES_SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Said:
    """What a person says of one photograph, not checked yet."""

    path: Path
    label: str
    type: str = ""


@dataclass(frozen=True)
class Marked:
    """What `mark_photographs` wrote, and what is marked now."""

    new: tuple[Mark, ...]
    num_known: int
    """Photographs that were marked so before."""
    in_force: tuple[Mark, ...]

    def __repr__(self) -> str:
        counts = {label: sum(mark.label == label for mark in self.in_force) for label in (BAD, GOOD)}
        return f"Marked({len(self.new)} new; {counts[BAD]} bad and {counts[GOOD]} good in all)"


def said_of(photographs: Iterable[Path], label: str, type: str = "") -> list[Said]:
    """One and the same of files and of the images in folders; raises DataError for a folder without images."""
    return [Said(path, label, type) for path in images_of(photographs)]


def said_in(file: Path) -> list[Said]:
    """What a COCO file, a table of labels or a predictions.jsonl with labels filled in says.

    Photographs without a label are passed over. Raises DataError if it labels none, or cannot be read.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected coco.json, labels.csv or predictions.jsonl")
    found = list(_of_lines(file) if file.suffix.lower() == LINES_SUFFIX else _of_catalog(file))
    if not found:
        raise DataError(f"{file}: labels no photograph; write good or bad (0 or 1) as label of those that are known")
    return found


def _of_lines(file: Path) -> Iterator[Said]:
    for number, line in enumerate(json_lines(file), start=1):
        if line is None or not isinstance(line.get("path"), str):
            raise DataError(f"{file}, line {number}: expected a line of `cavga predict` with a path; predict again")
        if line.get("label") is None:
            continue
        label = label_of(str(line["label"]))
        if label is None:
            raise DataError(f"{file}, line {number}: label {line['label']!r} is neither good nor bad, 0 nor 1")
        yield Said(_place(file, line["path"]), BAD if label == ANOMALOUS else GOOD, str(line.get("defect_type") or ""))


def _place(file: Path, path: str) -> Path:
    """Where a photograph is: paths are relative to where one predicted, or to the file's folder."""
    places = (Path(path), file.parent / path)
    return next((place for place in places if place.is_file()), places[0])


def _of_catalog(file: Path) -> Iterator[Said]:
    if file.suffix.lower() == ".csv" and "label" not in read_table(file).columns:
        raise DataError(f"{file}: no column label: expected one that says good or bad (0 or 1)")
    for record in load_catalog(file).records:
        if record.label is not None:
            yield _of_record(record)


def _of_record(record: ImageRecord) -> Said:
    return Said(record.path, BAD if record.label == ANOMALOUS else GOOD, record.defect_type or "")


def mark_photographs(run: str | Path, said: Sequence[Said]) -> Marked:
    """Append marks to RUN/marks.csv, where all of them can be used; a photograph that is marked so already is passed.

    Raises, before anything is written, DataError for a photograph that cannot be read, is both good and bad, or is one
    that the run was trained on, ModelFileError for a run that keeps no features, UsageError for no photographs.
    """
    where = Path(run)
    if not said:
        raise UsageError("no photographs to mark: expected files or folders")
    description = load_description(where)
    require_features(where, description)
    tiling = tiling_of(description, tuple(description["preprocessing"]["image_size"]))
    with writing_to(where):
        marks = read_marks(where)
        known, trained_on = marks_in_force(marks), set(read_manifest_hashes(where / MANIFEST_FILE))
        new, num_known = _new_marks(said, known, trained_on, tiling)
        if new:
            write_marks(where, [*marks, *new])
        return Marked(tuple(new), num_known, tuple(marks_in_force([*marks, *new]).values()))


def _new_marks(
    said: Sequence[Said], known: dict[str, Mark], trained_on: set[str], tiling: Tiling
) -> tuple[list[Mark], int]:
    now, new, num_known = datetime.now(UTC).isoformat(timespec="seconds"), dict[str, Mark](), 0
    for item in said:
        pixels, facts = read_once(item.path, tiling.pixel_range)
        tiling.check_fit((pixels.shape[0], pixels.shape[1]), str(item.path))
        if facts.sha256 in trained_on:
            raise DataError(f"{item.path}: the run was trained on this very photograph; it is not marked")
        earlier = new.get(facts.sha256) or known.get(facts.sha256)
        if earlier is not None and earlier.label != item.label:
            raise DataError(
                f"{item.path}: called {item.label}, and {earlier.label} before (as {earlier.path}); withdraw the wrong "
                "one (--withdraw)"
            )
        if earlier is not None and (earlier.type == item.type or not item.type):
            num_known += 1
            continue
        new[facts.sha256] = Mark(_absolute(item.path), facts.sha256, item.label, item.type, now)
    return list(new.values()), num_known


def _absolute(path: Path) -> str:
    return os.path.normpath(path.absolute())


def withdraw_marks(run: str | Path, photographs: Sequence[Path]) -> Marked:
    """Take marks back, by the files or by the paths that they had; raises DataError for one that is not marked."""
    where = Path(run)
    load_description(where)
    with writing_to(where):
        marks = read_marks(where)
        known = marks_in_force(marks)
        now, withdrawn = datetime.now(UTC).isoformat(timespec="seconds"), []
        for path in photographs:
            sha256s = {mark.sha256 for mark in known.values() if mark.path == _absolute(path)}
            sha256s |= {sha256_of(path)} & set(known) if path.is_file() else set()
            if not sha256s:
                raise DataError(f"{path}: is not marked; `cavga mark {where} --list` says what is")
            withdrawn += [
                Mark(known[sha256].path, sha256, WITHDRAWN, known[sha256].type, now) for sha256 in sorted(sha256s)
            ]
        write_marks(where, [*marks, *withdrawn])
        return Marked(tuple(withdrawn), 0, tuple(marks_in_force([*marks, *withdrawn]).values()))
