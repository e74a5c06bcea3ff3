"""Photographs that come into a project, and pictures of them to look at. No torch, no HTTP."""

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from cavga.atomic_files import atomic_write
from cavga.errors import DataError
from cavga.images.decode import decode_photograph, read_bytes, read_for_display
from cavga.images.walk import IMAGE_SUFFIXES
from cavga.projects.project import images_below

_NO_PART_OF_A_NAME = re.compile(r"[\x00-\x1f\x7f/\\]")
_LONGEST = 180  # bytes of a name: file systems take 255, and hidden copies have longer ones
_QUALITY, _QUALITY_OF_SMALL = 95, 82  # JPEG; a small defect has to stay one at full size


@dataclass(frozen=True)
class Stored:
    """A photograph that is there now; `is_new`: it was not before."""

    name: str
    is_new: bool


@dataclass
class Copied:
    """What came of a folder's photographs; `refused` says why, one line each."""

    num_new: int = 0
    num_known: int = 0
    refused: list[str] = field(default_factory=list)


def store_photograph(folder: Path, given_name: str, content: bytes) -> Stored:
    """Write a photograph into a set's folder once it could be decoded; raises DataError.

    The same bytes under the same name are there already; others of that name get a number.
    """
    name = file_name(given_name)
    decode_photograph(content, Path(name))
    stem, suffix, number = Path(name).stem, Path(name).suffix, 1
    there = {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
    while name.lower() in there:
        known = there[name.lower()]
        if known.is_file() and _sha256(read_bytes(known)) == _sha256(content):
            return Stored(known.name, is_new=False)
        number += 1
        name = f"{stem}-{number}{suffix}"
    atomic_write(folder / name, content)
    return Stored(name, is_new=True)


def file_name(given: str) -> str:
    """What a photograph is called here: the last part of what its sender calls it; raises DataError."""
    name = _NO_PART_OF_A_NAME.sub("_", re.split(r"[/\\]", given)[-1]).lstrip(". ").rstrip(". ")
    suffix = Path(name).suffix
    if suffix.lower() not in IMAGE_SUFFIXES:
        shown = name[:80] or "a photograph without a name"
        raise DataError(f"{shown}: is not read as a photograph; expected .png, .jpg, .bmp, .tif or .webp")
    stem = name[: -len(suffix)].encode(errors="replace")[: _LONGEST - len(suffix)].decode(errors="ignore")
    return f"{stem.strip() or 'photograph'}{suffix}"


def copy_photographs(source: Path, root: Path, target: Path, check: Callable[[bytes, str], None]) -> Copied:
    """Copy the images below a folder of `root` into a set; `check` raises for one that is too large."""
    done = Copied()
    for name, path in images_below(source, root).items():
        try:
            content = read_bytes(path)
            check(content, name)
            stored = store_photograph(target, path.name, content)
        except DataError as error:
            problem = str(error).replace(f"{root}/", "").removeprefix(path.name).removeprefix(name)
            done.refused.append(f"{name}{problem}")
            continue
        done.num_new += stored.is_new
        done.num_known += not stored.is_new
    return done


def remove_photograph(path: Path) -> None:
    """Take a photograph out of its set."""
    path.unlink(missing_ok=True)


def picture(path: Path, side: int | None) -> bytes:
    """A photograph as JPEG, upright and with 8 bits, its longer side at most `side`; raises DataError."""
    image = Image.fromarray(read_for_display(path))
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if side is None:
        image.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    else:
        image.save(file, "JPEG", quality=_QUALITY_OF_SMALL)
    return file.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
