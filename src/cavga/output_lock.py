"""One writer at a time: a lock of the operating system on an output folder or file, free at once when its holder dies.

Beside the lock lies the number of the process that holds it, for whoever comes second. Both are hidden files, which go
when the holder is done. Readers take no lock: files appear whole.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cavga.atomic_files import NotWrittenError, mark_of, remove_file, remove_leftovers
from cavga.errors import CavgaError
from cavga.regular_files import real_path

LOCK_FILE = ".cavga.lock"
HOLDER_SUFFIX = ".pid"

_held: dict[Path, int] = {}  # lock -> the thread that holds it: what it calls may lock the same place again


class BusyError(CavgaError):
    """Another command is writing to the same place."""


@contextmanager
def writing_to(folder: Path, *, below: Sequence[str] = ()) -> Iterator[None]:
    """Hold the lock of an output folder, which is created; raises BusyError where another one holds it.

    What dead writers left in it is removed, and what they left anywhere in the folders named in `below`. A folder that
    was created and is empty in the end is removed again.
    """
    with _created(folder), _locked(folder / LOCK_FILE, f"{folder}/"):
        remove_leftovers(folder)
        for name in below:
            for place, _, _ in os.walk(folder / name):
                remove_leftovers(Path(place))
        yield


@contextmanager
def writing_file(path: Path) -> Iterator[None]:
    """Hold the lock of one output file, or of a folder that is to appear as one; otherwise as `writing_to`.

    Others may write other files to its folder meanwhile.
    """
    with _created(path.parent), _locked(path.with_name(f".cavga-{mark_of(path)}.lock"), str(path)):
        remove_leftovers(path.parent, of=path)
        yield


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock, or says who holds one."""
    return name.removesuffix(HOLDER_SUFFIX) == LOCK_FILE


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(folder, error) from error
    try:
        yield
    finally:
        for place in missing:
            with suppress(OSError):  # it is not empty
                place.rmdir()


@contextmanager
def _locked(lock_file: Path, what: str) -> Iterator[None]:
    key = real_path(lock_file.parent) / lock_file.name
    if _held.get(key) == threading.get_ident():
        yield
        return
    from filelock import FileLock, Timeout  # here: it takes as long to load as the rest of `cavga --help`

    lock, holder = FileLock(key), key.with_name(key.name + HOLDER_SUFFIX)
    try:
        # Whoever held it removed its file at the end: a lock on a file that is gone is none.
        lock.acquire(timeout=0)
        while not key.exists():
            lock.release(force=True)
            lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"{what} is being written to by {_holder(holder)}: wait until it is done, or choose another place"
        ) from None
    except OSError as error:
        raise _no_place(lock_file.parent, error) from error
    _held[key] = threading.get_ident()
    try:
        with suppress(OSError):  # a full disk: it is only for a message
            holder.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        del _held[key]
        remove_file(holder)
        remove_file(key)  # while it is held, so that nobody else's goes
        lock.release(force=True)
        if os.name == "nt":  # which removes no file that is open
            remove_file(key)


def _holder(path: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(path.read_text(encoding='ascii'))}"
    return "another process"


def _no_place(folder: Path, error: OSError) -> NotWrittenError:
    return NotWrittenError(f"cannot write to {folder}: {error.strerror or error}; choose another place")
