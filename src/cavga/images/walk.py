"""Which files of a folder are images, and which are passed over and why. No torch."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import features

from cavga.errors import DataError
from cavga.regular_files import real_path

MAX_REPEATED_FOLDERS = 10_000  # links upon links can name one folder more often than can be walked


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OF_PILLOW = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_PORTABLE = (".ppm", ".pgm", ".pbm", ".pnm")
_JPEG_2000 = (".jp2", ".j2k") if features.check("jpg_2000") else ()
_AVIF = (".avif",) if features.check("avif") else ()
IMAGE_SUFFIXES = (*_OF_PILLOW, *_PORTABLE, *_JPEG_2000, *_AVIF)  # compared in lower case

# What the systems of computers and network drives leave behind: none of it is a user's. Compared in lower case.
_SYSTEM_FOLDERS = _words("@eadir #recycle @recycle #snapshot @recently-snapshot @tmp $recycle.bin __macosx lost+found")
_SYSTEM_FILES = _words("thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini")
_THUMBNAIL_FOLDERS = _words("thumbs thumbnails")  # these may be a user's: left out, but named
# What lies beside photographs and is none, by its name: not worth a line.
_COMPANIONS = _words(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .html .htm .css .pdf .doc .docx .xls .xlsx "
    ".ods .npy .npz .py .ipynb .sh .bat .log .md5 .sha256 .db .lnk .url .mat .xmp .safetensors .onnx"
)
_KINDS = {
    suffix: kind
    for kind, suffixes in {
        "a HEIC photograph": ".heic .heif .hif",
        "a picture that needs a library which Pillow was built without": ".avif .jp2 .j2k",
        "a JPEG XL picture": ".jxl",
        "a camera's raw picture": ".dng .cr2 .cr3 .nef .arw .raf .orf .rw2 .raw",
        "a drawing": ".svg .eps .ps .ai .wmf .emf",
        "a picture of a rare format": ".psd .xcf .exr .hdr .dcm .tga .ico .pcx .pfm",
        "a video": ".mp4 .avi .mov .mkv .wmv .webm",
        "an archive": ".zip .tar .gz .tgz .7z .rar .xz .bz2",
    }.items()
    for suffix in _words(suffixes)
}


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that is not read although it may hold photographs; `reason` goes behind its name."""

    path: Path
    reason: str


def find_images(folder: Path) -> list[Path]:
    """Every image below `folder`, sorted by path; hidden files and what systems leave behind are left out."""
    return list(walk_images(folder))


def walk_images(folder: Path) -> Iterator[Path]:
    """As `find_images`, one after the other: of files only the names in the folders on the way are held."""
    return (found for found in _found(folder) if isinstance(found, Path))


def passed_over(folder: Path) -> list[PassedOver]:
    """What `walk_images` leaves out below `folder` and a user may miss, sorted by path."""
    return [found for found in _found(folder) if isinstance(found, PassedOver)]


def images_in(folder: Path) -> Iterator[Path]:
    """The images of a folder, searched recursively, sorted by path; raises DataError if there is none."""
    found = walk_images(folder)
    first = next(found, None)
    if first is None:
        others = passed_over(folder)
        named = f"; {len(others)} other files are not read: {others[0].path} {others[0].reason}" if others else ""
        raise DataError(f"{folder} holds no images: expected .png, .jpg, .bmp, .tif or .webp files{named}")
    yield first
    yield from found


def images_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The images that files and folders stand for; raises DataError at one that does not exist or holds none."""
    for path in paths:
        if not path.exists():
            raise DataError(f"no such image or folder: {path}")
        yield from images_in(path) if path.is_dir() else [path]


def subfolders(parent: Path) -> list[Path]:
    """The folders directly in `parent`, sorted; hidden ones and those of systems are left out, and none of none."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not _is_hidden(path.name))


def is_copy(path: Path) -> bool:
    """Whether a file manager named it as a copy: "000 (copy).png", "000 - Copy.png"."""
    stem = path.stem.lower()
    return " (copy" in stem or " - copy" in stem


def _is_hidden(name: str) -> bool:
    return name[0] == "." or name.lower() in _SYSTEM_FOLDERS | _SYSTEM_FILES


def _found(folder: Path) -> Iterator[Path | PassedOver]:
    return _walk(folder, (), set(), [])


def _walk(folder: Path, above: tuple[Path, ...], seen: set[Path], repeated: list[Path]) -> Iterator[Path | PassedOver]:
    """Everything below `folder`, sorted by path, through links to folders too, unless they lead in a circle.

    `above` are the folders on the way; `seen` and `repeated` collect those of the whole walk.
    """
    here = real_path(folder)
    if here in above:
        return
    if here in seen:
        repeated.append(here)
    seen.add(here)
    if len(repeated) > MAX_REPEATED_FOLDERS:
        raise DataError(f"{folder}: links lead to the same folders again and again; remove links to folders")
    for name in _names(folder):
        if not name.endswith("/"):
            yield from _judged(folder / name)
        elif name[:-1].lower() in _THUMBNAIL_FOLDERS:
            yield PassedOver(folder / name, "is taken as a folder of thumbnails; rename it to use what is in it")
        else:
            yield from _walk(folder / name, (*above, here), seen, repeated)


def _judged(path: Path) -> Iterator[Path | PassedOver]:
    """A file as an image or as passed over; nothing of one that does not matter."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        yield path
    elif suffix in _KINDS:
        remedy = "save what it holds as PNG, JPEG or TIFF to use it"
        yield PassedOver(path, f"is {_KINDS[suffix]}, which is not read; {remedy}")
    elif suffix not in _COMPANIONS:
        named = f"ends in {suffix}" if suffix else "has no suffix"
        yield PassedOver(path, f"{named}, so it is not read as an image; rename it if it is one")


def _names(folder: Path) -> list[str]:
    """The names in a folder as its whole paths sort: that of a folder with a slash behind it."""
    try:
        with os.scandir(folder) as entries:
            return sorted(item.name + "/" * _is_folder(item) for item in entries if not _is_hidden(item.name))
    except OSError as error:
        reason = error.strerror
        raise DataError(f"{folder}: folder cannot be read: {reason}; check the path and its rights") from error


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to a place that we may not look at
        return False
