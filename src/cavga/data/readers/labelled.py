"""Folders of good and bad images side by side, with masks or without: OK and NG, Data/Images/Normal .. No torch.

What a folder is called says what its images are (cavga.data.folder_names). Where names leave it open, nothing is
guessed: the set is refused, with what to rename. Good images train. The last fifth of each good folder, by name, and
all bad images are the test, unless good folders have a folder test of their own.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cavga.data.folder_names import BAD, GOOD, MASK, TEST, UNCLEAR, are_numbered, hint, meaning
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, ImageRecord, last_by_name
from cavga.errors import DataError
from cavga.images.walk import find_images, is_copy

_MASK_ENDINGS = ("", "_mask", "-mask", "_gt", "_label", "_seg")  # of a mask's name, behind its image's
_MAX_NAMED = 4

_Folder = tuple[str, ...]  # the names from the set's root to a folder
_Key = tuple[_Folder, _Folder, str]


@dataclass
class _Sides:
    """The images of a set by what the folders above them say; `loose` ones lie beside folders that say something."""

    good: list[Path] = field(default_factory=list)
    bad: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)
    unclear: Counter[str] = field(default_factory=Counter)
    """Folders whose images nothing is said of, or two things at once, and how many each has."""
    is_asked: bool = False
    """Names say enough to ask: two kinds of images are here, by one word of a folder's or a file's name."""

    @property
    def are_told(self) -> bool:
        """Whether any folder says something that has a consequence."""
        others = len(self.bad) + len(self.masks) + len(self.loose) + len(self.unclear)
        return bool(self.is_asked or self.bad or self.masks or (self.good and others))


def find_labelled(data: Path) -> Path | None:
    """`data` if folders of good images have others beside them; raises DataError where it is open what those are."""
    if not data.is_dir():
        return None
    sides = _sides(data)
    if not sides.are_told and not any(_says_test(name) for name in sides.unclear):
        return None
    if sides.unclear:
        raise DataError(
            f"{data}: it is not plain which images are good: {_named(sides.unclear)}{_others(sides)}; name "
            "folders good, bad and masks, or train/good and test/<defect>, or move them out (--layout folder takes all "
            "as good)"
        )
    if not sides.good:
        told = Counter(path.parent.relative_to(data).as_posix() for path in (*sides.bad, *sides.masks))
        raise DataError(
            f"{data}: {_named(told)} are not good by name, and no folder is called good; move the good images into a "
            "folder good, or these out (--layout folder takes all as good)"
        )
    return data


def load_labelled(root: Path) -> Catalog:
    """Good images to train on and to test with, bad ones to test with, and masks by name."""
    sides = _sides(root)
    if not sides.good:
        raise DataError(f"{root}: no images in a folder called good, ok or normal; check the path or the names")
    good, bad = ([path for path in paths if not is_copy(path)] for paths in (sides.good, sides.bad))
    tested, masks = _tested(good, root) if bad else set(), _pair(bad, sides.masks, root)
    records = [_record(path, root, NORMAL, "test" if path in tested else "train") for path in good]
    records += [_record(path, root, ANOMALOUS, "test", masks[path]) for path in bad]
    paired = {mask for found in masks.values() for mask in found}
    copies = [path for path in (*sides.good, *sides.bad) if is_copy(path)]
    return Catalog(
        root=root,
        layout="labelled",
        category=None,
        records=tuple(sorted(records, key=lambda record: (record.split != "train", record.relative_path))),
        expects_masks=bool(sides.masks and sides.bad),
        orphan_masks=tuple(path for path in sides.masks if path not in paired and not _is_of_good(path, root)),
        skipped=tuple(sorted((*sides.loose, *copies))),
    )


def _record(path: Path, root: Path, label: int, split: str, masks: tuple[Path, ...] = ()) -> ImageRecord:
    return ImageRecord(
        path=path,
        relative_path=path.relative_to(root).as_posix(),
        label=label,
        split=split,
        mask_paths=masks,
        defect_type=_defect_type(path, root) if label == ANOMALOUS else None,
    )


def _sides(root: Path) -> _Sides:
    """Every image of `root` by the folders above it."""
    sides, untold = _Sides(), []
    told: set[_Folder] = set()  # the folders above one that says something
    for path in find_images(root):
        folders = _folders(path, root)
        meanings = [meaning(name) for name in folders]
        if not any(meanings):
            untold.append(path)
            continue
        first = next(i for i, word in enumerate(meanings) if word is not None)
        told |= {folders[:depth] for depth in range(first + 1)}
        _put(sides, path, folders, meanings)
    if not told:
        _ask(sides, untold, root)
    for path in untold if told else []:
        folders = _folders(path, root)
        if folders in told:
            sides.loose.append(path)
        else:
            sides.unclear["/".join(folders)] += 1
    return sides


def _ask(sides: _Sides, untold: Sequence[Path], root: Path) -> None:
    """Where no folder says what it holds: whether names give reason to ask before all is taken as good."""
    hints: dict[_Folder, str | None] = {}
    for path in untold:
        folders = _folders(path, root)
        hints[folders] = next(filter(None, map(hint, reversed(folders))), None)
    kinds = set(hints.values())
    siblings: dict[_Folder, set[str]] = defaultdict(set)
    for folders in hints:
        for depth, name in enumerate(folders):
            siblings[folders[:depth]].add(name)
    is_open = any(map(are_numbered, siblings.values()))
    is_open |= (UNCLEAR in kinds and len(hints) > 1) or (GOOD in kinds and len(kinds) > 1)
    sides.is_asked = is_open or bool(kinds & {BAD, MASK}) or _are_two(untold)
    if sides.is_asked:
        sides.unclear.update("/".join(_folders(path, root)) or "." for path in untold)


def _are_two(paths: Sequence[Path]) -> bool:
    """Whether files of one folder are photographs and their masks, or good and bad ones, by the ends of their names."""
    stems = {path.parent / path.stem.casefold() for path in paths}
    if any(stem.with_name(f"{stem.name}{ending}") in stems for stem in stems for ending in _MASK_ENDINGS if ending):
        return True
    ends = {hint(re.split(r"[_\W]+", stem.name.rstrip("0123456789_- "))[-1]) for stem in stems}
    return {GOOD, BAD} <= ends


def _put(sides: _Sides, path: Path, folders: _Folder, meanings: Sequence[str | None]) -> None:
    """An image to those of its kind: the folder nearest to it counts, but good ones inside of bad ones are no kind."""
    labels = [word for word in meanings if word in (GOOD, BAD)]
    if MASK in meanings:
        sides.masks.append(path)
    elif labels and labels[-1] == BAD:
        sides.bad.append(path)
    elif labels and BAD not in labels:
        sides.good.append(path)
    else:
        sides.unclear["/".join(folders)] += 1


def _folders(path: Path, root: Path) -> _Folder:
    return path.relative_to(root).parts[:-1]


def _is_of_good(mask: Path, root: Path) -> bool:
    """Whether a mask lies with those of good images, where it has nothing to mark."""
    return any(meaning(name) == GOOD for name in _folders(mask, root))


def _says_test(folders: str) -> bool:
    return any(meaning(name) == TEST for name in folders.split("/"))


def _named(folders: Counter[str]) -> str:
    """The first folders, and how many images each has."""
    shown = [f"{folder}/ ({count} images)" for folder, count in sorted(folders.items())[:_MAX_NAMED]]
    more = f" and {len(folders) - _MAX_NAMED} more" if len(folders) > _MAX_NAMED else ""
    return ", ".join(shown) + more


def _others(sides: _Sides) -> str:
    """What the other folders of a set were taken for, or why it is asked."""
    if sides.is_asked:
        return ", by their names good and bad ones or masks together"
    counts = {"good": sides.good, "bad": sides.bad, "mask": sides.masks}
    told = ", ".join(f"{len(paths)} {what} images" for what, paths in counts.items() if paths)
    return f" beside {told or 'images that no folder says anything of'}"


def _tested(good: Sequence[Path], root: Path) -> set[Path]:
    """The good images to test with: those in a folder test, else the last ones of each folder."""
    said = {path for path in good if any(meaning(name) == TEST for name in _folders(path, root))}
    return said or last_by_name(good)


def _defect_type(path: Path, root: Path) -> str:
    """The folders below the one that says bad; without any its own name."""
    folders = _folders(path, root)
    at = max(i for i, name in enumerate(folders) if meaning(name) == BAD)
    return "/".join(folders[at + 1 :]) or folders[at]


def _pair(bad: Sequence[Path], masks: Sequence[Path], root: Path) -> dict[Path, tuple[Path, ...]]:
    """Image -> its masks, by name: a mask that two images could have is nobody's."""
    by_key: dict[_Key, list[Path]] = defaultdict(list)
    for path in sorted(masks):
        folders = _folded(_folders(path, root))
        at = next(i for i, name in enumerate(folders) if meaning(name) == MASK)
        below = folders[at + 1 :]
        by_key[folders[:at], below, path.stem.casefold()].append(path)
        if below:  # several masks of one image, in a folder of its name
            by_key[folders[:at], below[:-1], f"{below[-1]}/"].append(path)
    wanted = {image: next((by_key[key] for key in _keys(image, root) if key in by_key), []) for image in bad}
    claims = Counter(mask for found in wanted.values() for mask in found)
    return {image: tuple(mask for mask in found if claims[mask] == 1) for image, found in wanted.items()}


def _keys(image: Path, root: Path) -> Iterator[_Key]:
    """Where an image's mask may lie: (what has the folder of masks, the folders below that, its name), nearest first.

    The folders below are the last ones of the image's own, as many as there are.
    """
    folders, stem = _folded(_folders(image, root)), image.stem.casefold()
    for depth in range(len(folders), -1, -1):
        below = folders[depth:]
        for skipped in range(len(below) + 1):
            for ending in (*_MASK_ENDINGS, "/"):
                yield folders[:depth], below[skipped:], f"{stem}{ending}"


def _folded(folders: _Folder) -> _Folder:
    return tuple(name.casefold() for name in folders)
