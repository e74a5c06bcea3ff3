"""A folder or a manifest -> Catalog: which layout it has, and who reads that. No torch.

Layouts: "mvtec" (train/good, test/<type>, ground_truth/<type>), "folder" (nothing but good images, in
any sub-folders), "manifest" (a .csv; manifest.py), "classes" (train/<class>, test/<class>; one_class.py),
"idx" and "cifar10" (container files; small_images.py), "lag" (lag.py) and "shanghaitech" (video.py).
Image and mask meet by name, never by order.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from cavga.config.schema import LAYOUTS, DataConfig
from cavga.data.manifest import load_manifest
from cavga.data.readers.class_folders import is_class_set, load_classes
from cavga.data.readers.idx_cifar10 import find_cifar10, find_idx, load_cifar10, load_idx
from cavga.data.readers.lag import find_lag, load_lag
from cavga.data.readers.published import where_to_get
from cavga.data.readers.shanghaitech import find_shanghaitech, load_shanghaitech
from cavga.data.records import ANOMALOUS, CLASS_LAYOUTS, NORMAL, Catalog, ImageRecord
from cavga.errors import DataError, UsageError, unknown_name
from cavga.images.decode import GOOD_FOLDERS, find_images, is_copy, subfolders

_SPLIT_OF_FOLDER = {
    "train": "train",
    "validation": "calibration",
    "calibration": "calibration",
    "test": "test",
}
_FINDERS: dict[str, Callable[[Path], Path | None]] = {  # layout -> where below DATA it begins
    "shanghaitech": find_shanghaitech,
    "lag": find_lag,
    "idx": find_idx,
    "cifar10": find_cifar10,
    "classes": lambda data: data if is_class_set(data) else None,
}


def load_catalog(
    data: Path,
    *,
    layout: str | None = None,
    category: str | None = None,
    normal_class: str | None = None,
    mask_cut: float = DataConfig.mask_cut,
) -> Catalog:
    """List what `data` holds; the layout is recognised unless it is given.

    A folder of several MVTec-style categories, a manifest of several, and the scenes of ShanghaiTech
    need `category`; a set of several classes needs `normal_class` (there `category` means the same).
    """
    if layout is not None and layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if not 0 < mask_cut < 1:
        raise UsageError(f"mask cut must lie between 0 and 1, got {mask_cut}")
    if not data.exists():
        raise DataError(f"{data}: does not exist; {where_to_get(data.as_posix())}")
    data = Path(os.path.normpath(data.absolute()))
    layout = layout or recognise_layout(data, has_class=normal_class is not None)
    if normal_class is not None and layout not in CLASS_LAYOUTS:
        raise UsageError(
            f"--normal-class {normal_class}: {data} has layout {layout}, not several classes in train/<class> and "
            "test/<class>; leave it out"
        )
    if data.is_file():
        return _load_file(data, layout=layout, category=category)
    if layout in _FINDERS:
        return _load_known(data, layout, category=category, normal_class=normal_class, mask_cut=mask_cut)
    return _load_plain(data, layout, category=category)


def recognise_layout(data: Path, *, has_class: bool = False) -> str:
    """The layout that `data` has; with a normal class asked for, any train/<name> and test/<name> are classes."""
    if data.is_file():
        if data.suffix.lower() != ".csv":
            raise DataError(f"{data}: expected a folder or a manifest .csv, this is another file; check the path")
        return "manifest"
    if has_class and is_class_set(data, is_asked_for=True):
        return "classes"
    found = next((layout for layout, find in _FINDERS.items() if find(data) is not None), None)
    is_mvtec = any(_is_mvtec(folder) for folder in (data, *subfolders(data)))
    return found or ("mvtec" if is_mvtec else "folder")


def _load_known(data: Path, layout: str, *, category: str | None, normal_class: str | None, mask_cut: float) -> Catalog:
    if layout == "classes":
        return load_classes(data, data, layout=layout, normal_class=normal_class or category)
    root = _FINDERS[layout](data)
    if root is None:
        found_in = where_to_get(layout if layout != "idx" else data.as_posix())
        raise DataError(f"{data}: nothing of layout {layout!r} in it; {found_in}")
    if layout == "shanghaitech":
        return load_shanghaitech(root, category=category)
    if layout == "lag":
        if category is not None:
            raise UsageError(f"unknown category {category!r}: {root} holds no categories; leave the category out")
        return load_lag(root, mask_cut=mask_cut)
    load = load_idx if layout == "idx" else load_cifar10
    return load(root, normal_class=normal_class or category)


def _load_plain(data: Path, layout: str, *, category: str | None) -> Catalog:
    if layout == "manifest":
        raise UsageError(f"{data}: layout 'manifest' needs a .csv file, this is a folder")
    if layout == "folder":
        return _load_folder(data, category=category)
    root = _category_folder(data, category)
    if root is None:
        raise DataError(f"{data}: expected train/good in it for layout 'mvtec'; check the path")
    return _load_mvtec(root)


def _load_file(data: Path, *, layout: str, category: str | None) -> Catalog:
    if layout != "manifest":
        raise UsageError(f"{data}: layout {layout!r} needs a folder, this is a file")
    return load_manifest(data, category=category)


def _category_folder(data: Path, category: str | None) -> Path | None:
    """`data` itself if it is an MVTec-style category, else the one below it that is meant, else None."""
    if _is_mvtec(data):
        if category not in (None, data.name):
            raise unknown_name("category", str(category), [data.name])
        return data
    names = [folder.name for folder in subfolders(data) if _is_mvtec(folder)]
    if not names:
        return None
    if category is not None and category not in names:
        raise unknown_name("category", category, names)
    if category is None and len(names) > 1:
        raise UsageError(f"{data} holds several categories, choose one: {', '.join(names)}")
    return data / (category or names[0])


def _is_mvtec(folder: Path) -> bool:
    """It has train/good; or test/<type>, and in train nothing at all or other types (check says so)."""
    if any(_is_good(kind.name) for kind in subfolders(folder / "train")):
        return True
    has_loose_images = (folder / "train").is_dir() and not subfolders(folder / "train")
    return bool(subfolders(folder / "test")) and not has_loose_images


def _is_good(folder_name: str) -> bool:
    return folder_name.lower() in GOOD_FOLDERS


def _load_folder(root: Path, *, category: str | None) -> Catalog:
    if category is not None:
        raise UsageError(f"unknown category {category!r}: {root} holds no categories; leave the category out")
    images = find_images(root)
    taken = [path for path in images if not is_copy(path)]
    if not taken:
        what_to_do = where_to_get(root.as_posix(), otherwise="add some")
        raise DataError(f"{root}: no images in it; expected good ones (.png, .jpg ..) or train/good; {what_to_do}")
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
