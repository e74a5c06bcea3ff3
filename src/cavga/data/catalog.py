"""A folder or a manifest -> Catalog: which layout it has, and who reads that. No torch.

Layouts: "mvtec" (train/good, test/<type>, ground_truth/<type>), "folder" (nothing but good images, in any sub-folders),
"manifest" (a .csv), "classes" (train/<class>, test/<class>), "idx" and "cifar10" (container files), "lag" and
"shanghaitech": all but the manifest have a file in cavga.data.readers.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cavga.config.schema import LAYOUTS, DataConfig
from cavga.data.manifest import load_manifest
from cavga.data.readers.class_folders import is_class_set, load_classes
from cavga.data.readers.idx_cifar10 import find_cifar10, find_idx, load_cifar10, load_idx
from cavga.data.readers.lag import find_lag, load_lag
from cavga.data.readers.mvtec import _category_folder, _is_mvtec, _load_folder, _load_mvtec
from cavga.data.readers.published import where_to_get
from cavga.data.readers.shanghaitech import find_shanghaitech, load_shanghaitech
from cavga.data.records import CLASS_LAYOUTS, Catalog
from cavga.errors import DataError, UsageError, unknown_name
from cavga.images.decode import subfolders

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


def load_like_run(settings: Mapping[str, Any], data: Path, *, category: str | None, mask_cut: float | None) -> Catalog:
    """The catalog of `data` as a run with these data settings would read it, where nothing else is asked for."""
    needs_class = category is None and data.is_dir() and recognise_layout(data) in CLASS_LAYOUTS
    return load_catalog(
        data,
        category=category,
        normal_class=settings.get("normal_class") if needs_class else None,  # older runs have no such settings
        mask_cut=settings.get("mask_cut", DataConfig.mask_cut) if mask_cut is None else mask_cut,
    )
