"""A folder or a manifest -> Catalog: every rule of every layout is here. No torch, no pixel is read.

Layouts: "mvtec" (train/good, test/<type>, ground_truth/<type>), "folder" (nothing but good images, in
any sub-folders) and "manifest" (a .csv; see manifest.py). Image and mask meet by name, never by order.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cavga.config import LAYOUTS
from cavga.data.images import find_images
from cavga.data.manifest import load_manifest
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, ImageRecord
from cavga.errors import DataError, UsageError, unknown_name

GOOD_FOLDERS = ("good", "ok", "normal")  # compared in lower case: MVTec, BTAD, VisA
_SPLIT_OF_FOLDER = {
    "train": "train",
    "validation": "calibration",
    "calibration": "calibration",
    "test": "test",
}


def load_catalog(data: Path, *, layout: str | None = None, category: str | None = None) -> Catalog:
    """List what `data` holds; the layout is recognised unless it is given.

    A folder of several MVTec-style categories, or a manifest of several, needs `category`.
    """
    if layout is not None and layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if not data.exists():
        raise DataError(f"{data}: does not exist; check the path")
    data = Path(os.path.normpath(data.absolute()))
    if data.is_file():
        return _load_file(data, layout=layout, category=category)
    if layout == "manifest":
        raise UsageError(f"{data}: layout 'manifest' needs a .csv file, this is a folder")
    root = None if layout == "folder" else _category_folder(data, category)
    if root is not None:
        return _load_mvtec(root)
    if layout == "mvtec":
        raise DataError(f"{data}: expected train/good in it for layout 'mvtec'; check the path")
    return _load_folder(data, category=category)


def is_copy(path: Path) -> bool:
    """Whether a file manager named it as a copy: "000 (copy).png", "000 - Copy.png"."""
    stem = path.stem.lower()
    return " (copy" in stem or " - copy" in stem


def _load_file(data: Path, *, layout: str | None, category: str | None) -> Catalog:
    if layout in ("mvtec", "folder"):
        raise UsageError(f"{data}: layout {layout!r} needs a folder, this is a file")
    if layout is None and data.suffix.lower() != ".csv":
        raise DataError(f"{data}: expected a folder or a manifest .csv, this is another file; check the path")
    return load_manifest(data, category=category)


def _category_folder(data: Path, category: str | None) -> Path | None:
    """`data` itself if it is an MVTec-style category, else the one below it that is meant, else None."""
    if _is_mvtec(data):
        if category not in (None, data.name):
            raise unknown_name("category", str(category), [data.name])
        return data
    names = sorted(folder.name for folder in _folders(data) if _is_mvtec(folder))
    if not names:
        return None
    if category is not None and category not in names:
        raise unknown_name("category", category, names)
    if category is None and len(names) > 1:
        raise UsageError(f"{data} holds several categories, choose one: {', '.join(names)}")
    return data / (category or names[0])


def _is_mvtec(folder: Path) -> bool:
    """It has train/good; or test/<type>, and in train nothing at all or other types (check says so)."""
    if any(_is_good(kind.name) for kind in _folders(folder / "train")):
        return True
    has_loose_images = (folder / "train").is_dir() and not any(_folders(folder / "train"))
    return any(_folders(folder / "test")) and not has_loose_images


def _is_good(folder_name: str) -> bool:
    return folder_name.lower() in GOOD_FOLDERS


def _folders(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from (path for path in parent.iterdir() if path.is_dir() and path.name[0] != ".")


def _load_folder(root: Path, *, category: str | None) -> Catalog:
    if category is not None:
        raise UsageError(f"unknown category {category!r}: {root} holds no categories; leave the category out")
    images = find_images(root)
    taken = [path for path in images if not is_copy(path)]
    if not taken:
        raise DataError(f"{root}: no images in it; expected good ones (.png, .jpg ..) or train/good; add some")
    records = [
        ImageRecord(path=path, relative_path=path.relative_to(root).as_posix(), label=NORMAL, split="train")
        for path in taken
    ]
    skipped = tuple(path for path in images if is_copy(path))
    return Catalog(
        root=root,
        layout="folder",
        category=None,
        records=tuple(records),
        expects_masks=False,
        skipped=skipped,
    )


def _load_mvtec(root: Path) -> Catalog:
    masks = _masks_by_name(root / "ground_truth")
    records, skipped = [], []
    for folder in _SPLIT_OF_FOLDER:
        for path in find_images(root / folder) if (root / folder).is_dir() else []:
            record = _mvtec_record(root, path, masks)
            if record is None:
                skipped.append(path)
            else:
                records.append(record)
    if not records:
        raise DataError(f"{root}: no images in train/good or test; copy the images there or check the path")
    paired = {mask for record in records for mask in record.mask_paths}
    every_mask = (mask for files in masks.values() for mask in files)
    return Catalog(
        root=root,
        layout="mvtec",
        category=root.name,
        records=tuple(records),
        expects_masks=(root / "ground_truth").is_dir(),
        orphan_masks=tuple(sorted(mask for mask in every_mask if mask not in paired)),
        skipped=tuple(skipped),
    )


def _mvtec_record(root: Path, path: Path, masks: dict[tuple[str, ...], list[Path]]) -> ImageRecord | None:
    """The record of ROOT/<split>/<type>/<name>; None for a file that lies elsewhere or is a copy."""
    parts = path.relative_to(root).parts
    if len(parts) != 3 or is_copy(path):
        return None
    folder, kind, _ = parts
    split, is_good = _SPLIT_OF_FOLDER[folder], _is_good(kind)
    if split == "calibration" and not is_good:
        return None  # thresholds are set on normal images alone
    return ImageRecord(
        path=path,
        relative_path="/".join(parts),
        label=NORMAL if is_good else ANOMALOUS,
        split=split,
        mask_paths=_masks_of(kind, path.stem, masks) if split == "test" else (),
        category=root.name,
        defect_type=None if is_good else kind,
    )


def _masks_by_name(folder: Path) -> dict[tuple[str, ...], list[Path]]:
    """Below ground_truth: (type, stem) -> file; (type, stem, "") -> the files of a folder <stem> (LOCO)."""
    masks: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path in find_images(folder) if folder.is_dir() else []:
        parts = path.relative_to(folder).parts
        key = (*parts[:-1], path.stem) if len(parts) <= 2 else (*parts[:-1], "")
        masks[key].append(path)
    return masks


def _masks_of(kind: str, stem: str, masks: dict[tuple[str, ...], list[Path]]) -> tuple[Path, ...]:
    for key in ((kind, f"{stem}_mask"), (kind, stem), (kind, stem, "")):
        if key in masks:
            return tuple(masks[key])
    return ()
