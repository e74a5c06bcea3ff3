"""Reading what users name: regular files alone, because a pipe, a device or a socket can be waited for without end."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cavga.errors import DataError

_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(DataError):
    """A path leads to a folder, a pipe, a socket or a device where a file was expected."""


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """The file at `path`, or at the end of its links, to read; raises NotRegularError for anything else.

    OSError passes through: whoever asks knows what the file was to be.
    """
    _check(path, path.stat().st_mode)  # before opening, because some devices act on that
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT)
    try:
        _check(path, os.fstat(descriptor).st_mode)  # again, because it can have been replaced
    except NotRegularError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_regular(path: Path) -> bytes:
    """All of the file at `path`; errors as of `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False too for what no file system takes as a name."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long; a zero byte, before Python 3.12
        return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False as for `is_folder`."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _check(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotRegularError(f"{path}: is {kind_of(mode)}, expected a file; remove it or move it away")


def real_path(path: Path) -> Path:
    """The absolute path without links; of one whose links lead in a circle, as far as it can be told."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for a circle


def kind_of(mode: int) -> str:
    """What a path leads to, in words, from its `st_mode`."""
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "a file")
