"""Writing files so that they appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cavga.errors import CavgaError, UsageError


def refuse_file(output: Path) -> None:
    """Raise UsageError where a folder is to be written to and there is a file."""
    if output.is_file():
        raise UsageError(f"--output {output} is a file: expected a folder")


def refuse_unwritable(output: Path) -> None:
    """Raise CavgaError where nothing can be written into a folder, or where it cannot be made."""
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    probe = there / f".{secrets.token_hex(8)}.tmp"
    try:
        with probe.open("xb"):
            pass
    except OSError as error:
        raise CavgaError(f"cannot write into {output}: {error.strerror}; choose another place with --output") from error
    finally:
        _remove(probe)


def atomic_write(path: Path, content: bytes) -> None:
    """Write `content` to `path`, creating parent folders; a reader sees the old file or the new one."""
    with atomic_writer(path) as file:
        file.write(content)


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends; parent folders are created.

    If the block raises, nothing is left and an older file stays. Raises CavgaError where writing fails.
    The folder itself is not synced: Windows cannot, and a lost rename only brings the old file back.
    """
    # Beside the target, because a rename is atomic only inside one file system; not by `tempfile`,
    # whose files are readable by their owner alone and would stay so.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and _is_of(error, temporary):
            reason = error.strerror or str(error)
            raise CavgaError(f"cannot write {path}: {reason}; free space or choose another place") from error
        raise


def _is_of(error: OSError, temporary: Path) -> bool:
    """Whether an error is of writing this file, not of another one that the block has to do with."""
    # A write that fails names no file.
    return error.filename is None or Path(error.filename) in (temporary, *temporary.parents)


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # its folder is a file, or not ours: nothing was written, the first error says more
        return
