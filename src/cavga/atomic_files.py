"""Writing files so that they appear whole or not at all, one by one or several together."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from errno import EDQUOT, EIO, ENOSPC, EROFS
from pathlib import Path
from typing import BinaryIO

from cavga.errors import CavgaError, UsageError
from cavga.regular_files import kind_of

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
_OF_THE_DISK = (ENOSPC, EDQUOT, EROFS, EIO)  # the next file fails as well


class NotWrittenError(CavgaError):
    """A file could not be written; `is_of_the_disk` says that other files there cannot be either."""

    def __init__(self, message: str, *, is_of_the_disk: bool = False) -> None:
        super().__init__(message)
        self.is_of_the_disk = is_of_the_disk


class FilesTogether:
    """Files that are written and wait for one another; `remove` names those that are to go with the old ones."""

    def __init__(self) -> None:
        self.waiting: dict[Path, Path] = {}
        self._removed: list[Path] = []

    def remove(self, path: Path) -> None:
        """Let a file of an earlier set go when this one appears."""
        self._removed.append(path)

    def hashes(self) -> dict[str, str]:
        """The sha256 of every file that waits, by its name."""
        found = {}
        for path, temporary in self.waiting.items():
            with temporary.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def appear(self) -> None:
        """Put the new files in the place of the old ones; what is done already is not done again."""
        # Old and new ones never stand side by side, whenever this ends: the old ones go first, the last one of them
        # first of all.
        for path in (*reversed(self.waiting), *self._removed):
            if path not in self.waiting or self.waiting[path].exists():
                path.unlink(missing_ok=True)
        for path, temporary in self.waiting.items():
            if temporary.exists():
                temporary.replace(path)


_together: ContextVar[FilesTogether | None] = ContextVar("_together", default=None)


@contextmanager
def written_together() -> Iterator[FilesTogether]:
    """What is written in the block appears when it ends: all of it, or none and the files of before stay.

    Files of before are removed, then the new ones appear in the order in which they were written. So write the one
    last that others are read by: without it there is no set, and with it the set is whole.
    """
    files = FilesTogether()
    token = _together.set(files)
    try:
        yield files
    except BaseException:
        for temporary in files.waiting.values():
            remove_file(temporary)
        raise
    finally:
        _together.reset(token)
    try:
        files.appear()
    except KeyboardInterrupt:  # a few renames are not worth a set in pieces
        files.appear()
        raise
    except OSError as error:
        for temporary in files.waiting.values():
            remove_file(temporary)
        raise _not_written(Path(error.filename2 or error.filename or "?"), error) from error


def refuse_file(output: Path) -> None:
    """Raise UsageError where a folder is to be written to and there is a file, or anything else that is none."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"output {output} is {kind_of(output.stat().st_mode)}: expected a folder")


def atomic_write(path: Path, content: bytes) -> None:
    """Write `content` to `path`, creating parent folders; a reader sees the old file or the new one."""
    with atomic_writer(path) as file:
        file.write(content)


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends; parent folders are created.

    If the block raises, nothing is left and an older file stays. Raises NotWrittenError where writing fails.
    The folder itself is not synced: Windows cannot, and a lost rename only brings the old file back.
    """
    temporary = temporary_of(path)
    try:
        _refuse_what_is_no_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        together = _together.get()
        if together is None:
            temporary.replace(path)
        else:
            together.waiting[path] = temporary
    except BaseException as error:
        remove_file(temporary)
        if isinstance(error, OSError) and _is_of(error, temporary):
            raise _not_written(path, error) from error
        raise


def temporary_of(path: Path) -> Path:
    """A new hidden name beside `path` for what is to take its place; half of it tells whose it is."""
    # Beside the target, because a rename is atomic only inside one file system; not by `tempfile`,
    # whose files are readable by their owner alone and would stay so.
    return path.with_name(f".{mark_of(path)}{secrets.token_hex(4)}.tmp")


def remove_leftovers(folder: Path, of: Path | None = None) -> None:
    """Remove what dead writers left in a folder under the names of `temporary_of`, all of it or that of one file.

    Only for who holds the lock of the folder, or of the file: living writers have such names too.
    """
    start = "." if of is None else f".{mark_of(of)}"
    try:
        places = [
            place for place in folder.iterdir() if place.name.startswith(start) and _TEMPORARY.fullmatch(place.name)
        ]
    except OSError:  # not there yet, or not ours: nothing was left
        return
    for place in places:
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            remove_file(place)


def remove_file(path: Path) -> None:
    """Remove a file as far as that can be done."""
    with suppress(OSError):  # its folder is a file, or not ours: the error that is on its way says more
        path.unlink(missing_ok=True)


def mark_of(path: Path) -> str:
    """What the temporary names of a file begin with."""
    return hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]


def _refuse_what_is_no_file(path: Path) -> None:
    """A rename would put a file in the place of a device, such as /dev/null, and fails on a folder at the end only."""
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing there, or it cannot be: writing says so
        return
    kind = kind_of(mode)
    if kind != "a file":
        raise NotWrittenError(f"cannot write {path}: there is {kind}; move it away or choose another place")


def _not_written(path: Path, error: OSError) -> NotWrittenError:
    reason = error.strerror or str(error)
    message = f"cannot write {path}: {reason}; free space or choose another place"
    return NotWrittenError(message, is_of_the_disk=error.errno in _OF_THE_DISK)


def _is_of(error: OSError, temporary: Path) -> bool:
    """Whether an error is of writing this file, not of another one that the block has to do with."""
    # A write that fails names no file.
    return error.filename is None or Path(error.filename) in (temporary, *temporary.parents)
