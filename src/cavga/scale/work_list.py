"""What is to be scored, image by image: of a folder, a manifest or a URL; and which shard has which. No torch."""

import hashlib
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cavga.data.tables import stream_table
from cavga.errors import DataError, UsageError
from cavga.images.walk import IMAGE_SUFFIXES, images_in
from cavga.regular_files import open_regular
from cavga.scale.storage import StorageError, file_system, is_url, joined

PACKED_FOLDER = "packed"  # in a folder of runs; so no category is called that
MANIFEST_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class Item:
    """One image of the list."""

    key: str
    """Its name in the output: as the manifest has it, or below the folder that was given."""
    place: str
    """Where it is read: a path, or a URL."""
    category: str | None = None
    """Of the manifest's column, or the first folder below the one that was given."""


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 0."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise UsageError(f"shard {self.number}/{self.count}: expected i/n with i from 0 to n - 1")

    @property
    def name(self) -> str:
        """Its folder in the output."""
        return f"shard-{self.number:05d}-of-{self.count:05d}"

    def holds(self, key: str) -> bool:
        """Whether an image of this name is its."""
        return int.from_bytes(digest_of(key)[:8], "big") % self.count == self.number


WHOLE = Shard(0, 1)


def shard_of(text: str) -> Shard:
    """The shard that "i/n" stands for; raises UsageError."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise UsageError(f"shard {text!r}: expected i/n, such as 0/8")
    return Shard(int(number), int(count))


def digest_of(key: str) -> bytes:
    """16 bytes that stand for the name of an image."""
    return hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=16).digest()


def is_manifest(place: str) -> bool:
    """Whether a place is a table of images."""
    return place.lower().endswith(MANIFEST_SUFFIXES)


def items_of(source: str) -> Iterator[Item]:
    """Every image of a folder, a manifest or a URL of either, in order; raises DataError where there is none."""
    found = _of_manifest(source) if is_manifest(source) else _of_url(source) if is_url(source) else _of_folder(source)
    first = next(found, None)
    if first is None:
        raise DataError(f"{source} lists no images: expected .png, .jpg, .bmp, .tif or .webp files")
    yield first
    yield from found


def _of_folder(source: str) -> Iterator[Item]:
    folder = Path(source)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, a manifest (.csv, .tsv) or a URL of either")
    for path in images_in(folder):
        key = path.relative_to(folder).as_posix()
        yield Item(key, str(path), _first_folder(key))


def _of_url(source: str) -> Iterator[Item]:
    system, root = file_system(source)
    try:
        for place, _, names in system.walk(root):
            for name in sorted(names):
                whole = posixpath.join(place, name)
                if name.lower().endswith(IMAGE_SUFFIXES):
                    key = posixpath.relpath(whole, root)
                    yield Item(key, joined(source, key), _first_folder(key))
    except OSError as error:
        raise StorageError(f"{source} cannot be reached: {error}; run the same command again") from error


def _of_manifest(source: str) -> Iterator[Item]:
    root = source.rpartition("/")[0] if is_url(source) else str(Path(source).parent)
    with _opened(source) as file:
        for line, row in stream_table(file, source):
            text = row["image"].strip().replace("\\", "/")
            if not text:
                raise DataError(f"{source}, line {line}: no image; give its path or remove the line")
            key = text if is_url(text) else posixpath.normpath(text)
            yield Item(key, joined(root, key), row["category"] or None)


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    """A manifest to read; raises DataError, or StorageError."""
    try:
        if is_url(source):
            system, path = file_system(source)
            with system.open(path, "rb") as file:
                yield file
        else:
            with open_regular(Path(source)) as file:
                yield file
    except FileNotFoundError:
        raise DataError(f"{source}: no such manifest; check the path") from None
    except OSError as error:
        raise StorageError(f"{source} cannot be read: {error}; check the path and its rights") from error


def _first_folder(key: str) -> str | None:
    first, slash, _ = key.partition("/")
    return first if slash else None
