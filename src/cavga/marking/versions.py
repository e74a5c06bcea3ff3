"""Versions of a run: RUN/versions/NNN holds what each refit wrote, and RUN itself the one in use. No torch.

A version is written in full under another name and then renamed. Which one is in use is changed by a few renames in
RUN, model.json the first that goes and the last that comes. A note in RUN/versions says which version is on its way, so
that where these were interrupted there is no model rather than a mixed one, and it is said how to go on.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, temporary_of, written_together
from cavga.calibration.stored import CALIBRATION_FILE
from cavga.data.manifest import sha256_of
from cavga.errors import ModelFileError, UsageError
from cavga.inference.exported_files import export_report_path
from cavga.output_lock import writing_file, writing_to
from cavga.runs.marks_file import MARKS_FILE
from cavga.runs.model_json import (
    CONFIG_FILE,
    DATA_FILE,
    FEATURES_FILE,
    LOG_FILE,
    MANIFEST_FILE,
    MARKED_FILE,
    MODEL_FILE,
    ONNX_FILE,
    ROI_FILE,
    SWITCHING_FILE,
    TRAINING_FOLDER,
    VERSIONS_FOLDER,
    WEIGHTS_FILE,
    load_description,
    read_run_file,
)
from cavga.structured_files import StructureError, parse_json

VERSION_FILE = "version.json"  # of a version: when it was made, and what changed
# What a run holds of the version in use, in the order in which it appears there.
REPORT_FILE = export_report_path(Path(ONNX_FILE)).name
HELD_FILES = (WEIGHTS_FILE, REPORT_FILE, ONNX_FILE, CALIBRATION_FILE, MODEL_FILE)
# What all versions share, and a new run with one of them needs.
SHARED_FILES = (
    CONFIG_FILE, MANIFEST_FILE, FEATURES_FILE, MARKS_FILE, MARKED_FILE, ROI_FILE, LOG_FILE,
    f"{TRAINING_FOLDER}/{DATA_FILE}",
)  # fmt: skip


@dataclass(frozen=True)
class Version:
    """A version of a run; `about` is the content of its version.json."""

    number: str
    folder: Path
    is_in_use: bool
    about: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Version({self.number}{', in use' if self.is_in_use else ''}: {self.about['summary']})"


def versions_of(run: str | Path) -> list[Version]:
    """All versions of a run, oldest first; none of a run that was never refitted. Raises ModelFileError."""
    where = Path(run)
    in_use = _identity_of(where)
    found = []
    for folder in sorted((where / VERSIONS_FOLDER).glob("[0-9][0-9][0-9]")):
        try:
            about = parse_json(read_run_file(folder / VERSION_FILE), dict)
        except StructureError as error:
            raise ModelFileError(f"{folder / VERSION_FILE} cannot be read: {error}; remove {folder}") from None
        found.append(Version(folder.name, folder, _identity_of(folder) == in_use, about))
    return found


def _identity_of(folder: Path) -> str | None:
    """What tells one version from another; None where an interrupted change left no model.json."""
    return sha256_of(folder / MODEL_FILE) if (folder / MODEL_FILE).is_file() else None


@contextmanager
def changing(run: Path) -> Iterator[None]:
    """The lock for writing versions of a run; what an interrupted writer left of one is removed."""
    with writing_to(run, below=[VERSIONS_FOLDER]):
        yield


@contextmanager
def new_version(run: Path, number: str, about: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to write a version to, which appears as RUN/versions/NNN, whole, when the block ends."""
    target = run / VERSIONS_FOLDER / number
    scratch = temporary_of(target)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        atomic_write(scratch / VERSION_FILE, (json.dumps(about, indent=2) + "\n").encode())
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def writing_new_run(target: Path) -> Iterator[None]:
    """The lock of a run folder that is to appear; raises UsageError where there is something already."""
    with writing_file(target):
        if target.exists() or target.is_symlink():
            raise UsageError(f"output {target} is there already: expected a new folder for the refitted run")
        yield


@contextmanager
def new_run(run: Path, target: Path) -> Iterator[Path]:
    """A copy of a run without its versions, to be changed, which appears as `target`, whole, when the block ends."""
    scratch = temporary_of(target)
    try:
        for name in (*HELD_FILES, *SHARED_FILES):
            if (run / name).is_file():
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(run / name, scratch / name)
        yield scratch
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def next_number(run: Path) -> str:
    """The number of the next version; the first is 000."""
    found = [int(folder.name) for folder in (run / VERSIONS_FOLDER).glob("[0-9][0-9][0-9]")]
    return f"{max(found, default=-1) + 1:03d}"


def keep_in_use(run: Path, about: Mapping[str, Any]) -> None:
    """Store what the run holds as its first version, if it has none; else the thresholds that were set since."""
    versions = versions_of(run)
    if not versions:
        with new_version(run, next_number(run), about) as folder:
            for name in (*HELD_FILES, MARKS_FILE):
                if (run / name).is_file():
                    atomic_write(folder / name, read_run_file(run / name))
    for version in versions:
        if version.is_in_use:
            _copy_thresholds(run, version.folder)


def _copy_thresholds(run: Path, folder: Path) -> None:
    if (run / CALIBRATION_FILE).is_file():
        atomic_write(folder / CALIBRATION_FILE, read_run_file(run / CALIBRATION_FILE))
    else:
        (folder / CALIBRATION_FILE).unlink(missing_ok=True)


def use_version(run: str | Path, number: str) -> Version:
    """Make a version the one in use; returns it. Raises UsageError for a version that is not there.

    Thresholds of `cavga calibrate` stay with the version that they were set for.
    """
    where = Path(run)
    if not where.is_dir():
        load_description(where)  # says what is wrong with it
    with writing_to(where, below=[VERSIONS_FOLDER]):
        known = {version.number: version for version in versions_of(where)}
        if number not in known:
            listed = ", ".join(known) or "it has none, because it was never refitted"
            raise UsageError(f"{where} has no version {number}: expected one of its versions ({listed})")
        keep_in_use(where, {})
        switch(where, number)
    return next(version for version in versions_of(where) if version.number == number)


def switch(run: Path, number: str) -> None:
    """Put the files of a version in the place of those that the run holds; for who holds the lock."""
    folder, note = run / VERSIONS_FOLDER / number, run / VERSIONS_FOLDER / SWITCHING_FILE
    load_description(folder)
    with written_together() as files:
        for name in HELD_FILES:
            if (folder / name).is_file():
                atomic_write(run / name, read_run_file(folder / name))
            else:
                files.remove(run / name)
        _note(note, number)
    note.unlink(missing_ok=True)


def _note(note: Path, number: str) -> None:
    """Written at once, not with the files that it is about."""
    scratch = temporary_of(note)
    scratch.write_text(number, encoding="ascii")
    scratch.replace(note)


def other_exports(run: Path) -> list[str]:
    """Exported files of a run that no version holds: they are of the version that they were written of."""
    suffixes = (".onnx", ".xml", ".pt2")
    return sorted(path.name for path in run.iterdir() if path.suffix in suffixes and path.name not in HELD_FILES)
