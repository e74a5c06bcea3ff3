"""Where the images lie that a COCO file names: tools move and rename what they were given. No torch."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from cavga.images.walk import walk_images

_UPLOAD = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


def found_files(root: Path, file: Path, names: Sequence[str]) -> list[Path]:
    """The image of each name that a COCO file in `root` lists: a place without a file where it is not plain which.

    Names are relative to the file, to the set, or to its folder images, by subset or not. Where that leads nowhere the
    images of the set are searched for the end of the path, then without Label Studio's eight digits.
    """
    folders = _folders(root, file)
    names = [_plain(name) for name in names]
    found = [_directly(folders, name) for name in names]
    images = list(walk_images(root)) if None in found else []
    for of_tool in (False, True):
        found = _by_end(images, names, found, of_tool=of_tool)
    return [path or Path(os.path.normpath(root / name)) for path, name in zip(found, names, strict=True)]


def _folders(root: Path, file: Path) -> list[Path]:
    """Where names may be relative to, first to last."""
    subset = re.split(r"[_\W]+", file.stem)[-1]
    folders = [file.parent, root, root / "images", root / "images" / subset, root / "images" / "default"]
    return list(dict.fromkeys(folders))


def _plain(name: str) -> str:
    """A name with forward slashes; of an address the path in it."""
    if "?d=" in name:  # of Label Studio: /data/local-files/?d=folder/name.png
        name = unquote(name.partition("?d=")[2])
    return name.replace("\\", "/")


def _directly(folders: Sequence[Path], name: str) -> Path | None:
    paths = (Path(os.path.normpath(folder / name)) for folder in folders)
    return next(filter(os.path.isfile, paths), None)  # it takes names that no file can have


def _by_end(
    images: Sequence[Path], names: Sequence[str], found: Sequence[Path | None], *, of_tool: bool
) -> list[Path | None]:
    """What was found, and for the others the one image whose path ends most alike; nothing where two names claim it."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_name[_as_uploaded(image.name) if of_tool else image.name].append(image)
    guesses: dict[int, Path] = {}
    for i, name in enumerate(names):
        folders, last = name.split("/")[:-1], name.rpartition("/")[2]
        last = _as_uploaded(_UPLOAD.sub("", last, count=1)) if of_tool else last
        alike = {path: _num_alike(folders, path.parts[:-1]) for path in by_name[last]} if found[i] is None else {}
        best = [path for path, count in alike.items() if count == max(alike.values())]
        if len(best) == 1:
            guesses[i] = best[0]
    claims = Counter([*guesses.values(), *(path for path in found if path is not None)])
    sure = {i: path for i, path in guesses.items() if claims[path] == 1}
    return [sure.get(i, path) for i, path in enumerate(found)]


def _num_alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the last folders are the same."""
    count = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        count += 1
    return count


def _as_uploaded(name: str) -> str:
    """A name as web servers store it: blanks are lines, other signs are gone."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
