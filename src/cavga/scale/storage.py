"""Folders on a disk or in an object store, by fsspec: list, read, write whole. No torch."""

import posixpath
from pathlib import Path
from typing import Any

from cavga.atomic_files import NotWrittenError, atomic_write
from cavga.errors import CavgaError, DataError, MissingExtraError

EXTRA = "pip install 'cavga[scale]'"


class StorageError(CavgaError):
    """An object store did not answer as it should: the same command goes on where it stopped."""


def is_url(place: str) -> bool:
    """Whether a place is in an object store: "s3://bucket/folder"."""
    return "://" in place


def joined(folder: str, name: str) -> str:
    """A name below a folder; a URL or an absolute path stays as it is."""
    if is_url(name):
        return name
    if is_url(folder):
        return f"{folder.rstrip('/')}/{name.lstrip('/')}"
    return str(Path(folder) / name)


def file_system(place: str) -> tuple[Any, str]:
    """The fsspec file system of a place, and the place as that names it; raises MissingExtraError."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(place, **({"use_listings_cache": False} if is_url(place) else {}))
    except ImportError as error:
        raise MissingExtraError(f"{place} takes {error.name or 'a package that is missing'}: {EXTRA}") from None
    except ValueError as error:
        raise DataError(f"{place}: {error}; expected a folder, or a URL such as s3://bucket/folder") from None


class Folder:
    """A folder that parts are written to and read from; it need not be there yet."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._system, self._root = file_system(place)

    def names(self, below: str = "") -> list[str]:
        """The names in it, or in a folder below it, sorted; none of a folder that is not there."""
        try:
            found = self._system.ls(posixpath.join(self._root, below), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._not_reached(below, error) from error
        return sorted(posixpath.basename(name.rstrip("/")) for name in found)

    def has(self, name: str) -> bool:
        """Whether there is a file."""
        try:
            return bool(self._system.exists(posixpath.join(self._root, name)))
        except OSError as error:
            raise self._not_reached(name, error) from error

    def read(self, name: str) -> bytes:
        """The content of a file; raises DataError where it is not there."""
        try:
            content: bytes = self._system.cat_file(posixpath.join(self._root, name))
        except FileNotFoundError:
            raise DataError(f"{joined(self.place, name)} is missing: remove the marker of its part") from None
        except OSError as error:
            raise self._not_reached(name, error) from error
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file that appears whole or not at all."""
        if not is_url(self.place):
            atomic_write(Path(self.place) / name, content)
            return
        try:  # an object appears when all of it has come
            self._system.pipe_file(posixpath.join(self._root, name), content)
        except OSError as error:
            raise NotWrittenError(f"cannot write {joined(self.place, name)}: {error}; check its rights") from error

    def _not_reached(self, name: str, error: OSError) -> StorageError:
        return StorageError(f"{joined(self.place, name)} cannot be reached: {error}; run the same command again")
