"""Folders of images that are made from something else, once: from container files, videos or soft masks. No torch.

Everything after this sees files on disk and needs no second way of reading images.
"""

import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from cavga.errors import CavgaError

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0

logger = logging.getLogger("cavga")


def unpack(place: Path, name: str, fill: Callable[[Path], None]) -> Path:
    """The folder `name` below `place`, filled by `fill` unless it is there already: whole or not at all.

    Where `place` cannot be written it is a folder of the user's cache instead; the log says where.
    """
    roots = (place, cache_folder(place))
    for root in roots:
        if (root / name).is_dir():
            return root / name
    reason = ""
    for root in roots:
        target = root / name
        unfinished = target.with_name(f".{target.name}-{secrets.token_hex(4)}.part")
        try:
            unfinished.mkdir(parents=True)
        except OSError as error:
            reason = f"{unfinished.parent}: {error.strerror or error}"
            continue
        logger.info("unpacking into %s (made once; may be deleted)", target)
        return _finish(unfinished, target, fill)
    raise CavgaError(f"cannot write {reason}; free space, or set XDG_CACHE_HOME to a folder that can be written")


def cache_folder(place: Path) -> Path:
    """Where the images of `place` go if it cannot be written; XDG_CACHE_HOME moves it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cavga" / hashlib.sha256(os.fsencode(place)).hexdigest()[:8] / place.name


def content_key(*parts: bytes) -> str:
    """Eight digits for a folder's name, so that other content goes into another folder."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:8]


def logged(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, with a line in the log every ten seconds: "scene 01, training: 12 of 83 clips"."""
    last = time.monotonic()
    for i, item in enumerate(items):
        yield item
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            logger.info("%s", what.format(i + 1, len(items)))


def _finish(unfinished: Path, target: Path, fill: Callable[[Path], None]) -> Path:
    try:
        fill(unfinished)
        unfinished.rename(target)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) and not target.is_dir():
            reason = error.strerror or str(error)
            raise CavgaError(f"cannot write {target}: {reason}; free space or choose another place") from error
        if not isinstance(error, OSError):
            raise  # an OSError with the target there: another process was quicker, and made the same
    return target
