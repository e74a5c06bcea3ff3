"""A folder or a manifest -> Catalog: which layout it has, and who reads that. No torch.

Layouts: "mvtec" (train/good, test/<type>, ground_truth/<type>), "labelled" (good and bad images side by side), "folder"
(nothing but good images, in any sub-folders), "manifest" (a .csv), "coco" (a COCO file, or the folder of one),
"classes" (train/<class>, test/<class>), "idx" and "cifar10" (container files), "lag" and "shanghaitech":
cavga.data.readers.layouts is their table.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cavga.config.schema import DataConfig
from cavga.data.readers.class_folders import is_class_set
from cavga.data.readers.layouts import (
    CLASS_LAYOUTS,
    LAYOUTS,
    find,
    in_order_of_recognition,
    load,
    of_file,
    where_to_get,
)
from cavga.data.records import Catalog, Finding
from cavga.data.tables import lists_images
from cavga.errors import DataError, UsageError, unknown_name
from cavga.images.walk import passed_over


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
            f"normal_class (--normal-class) {normal_class}: "
            f"{data} has layout {layout}, not several classes in train/<class> and "
            "test/<class>; leave it out"
        )
    root = _root(data, layout)
    takes = LAYOUTS[layout].takes
    if category is not None and not {"category", "normal_class"} & set(takes):
        raise UsageError(f"unknown category {category!r}: {root} holds no categories; leave the category out")
    catalog = load(layout, root, category=category, normal_class=normal_class or category, mask_cut=mask_cut)
    if not LAYOUTS[layout].is_general:  # a published set or a manifest says itself what belongs to it
        return catalog
    remarks = (*catalog.remarks, *_lists_beside(catalog))
    return replace(catalog, passed_over=tuple(passed_over(catalog.root)), remarks=remarks)


def _lists_beside(catalog: Catalog) -> Iterator[Finding]:
    """Tables in a folder of images that say what those are, and are not read because the folder was given."""
    for path in sorted(path for path in catalog.root.iterdir() if path.suffix.lower() == ".csv"):
        if path.is_file() and lists_images(path):
            problem = "lists images and is not read"
            yield Finding("warning", path.name, problem, "give its path in place of the folder's to use its labels")


def recognise_layout(data: Path, *, has_class: bool = False) -> str:
    """The layout that `data` has; with a normal class asked for, any train/<name> and test/<name> are classes."""
    if data.is_file():
        layout = of_file(data)
        if layout is None:
            raise DataError(
                f"{data}: expected a folder, a manifest .csv or a COCO .json, this is another file; check the path"
            )
        return layout
    if has_class and is_class_set(data, is_asked_for=True):
        return "classes"
    return next(layout for layout in in_order_of_recognition() if find(layout, data) is not None)


def _root(data: Path, layout: str) -> Path:
    """Where the layout begins; raises what says that it is not there."""
    if data.is_file():
        if not LAYOUTS[layout].suffixes:
            raise UsageError(f"{data}: layout {layout!r} needs a folder, this is a file")
        return data
    if not LAYOUTS[layout].is_of_folders:
        raise UsageError(f"{data}: layout {layout!r} needs a {LAYOUTS[layout].suffixes[0]} file, this is a folder")
    root = data if LAYOUTS[layout].is_general else find(layout, data)
    if root is None:
        sources = LAYOUTS[layout].sources
        found_in = where_to_get(sources[0].folder if len(sources) == 1 else data.as_posix())
        raise DataError(f"{data}: nothing of layout {layout!r} in it; {found_in}")
    return root


def load_like_run(settings: Mapping[str, Any], data: Path, *, category: str | None, mask_cut: float | None) -> Catalog:
    """The catalog of `data` as a run with these data settings would read it, where nothing else is asked for."""
    needs_class = category is None and data.is_dir() and recognise_layout(data) in CLASS_LAYOUTS
    return load_catalog(
        data,
        category=category,
        normal_class=settings.get("normal_class") if needs_class else None,  # older runs have no such settings
        mask_cut=settings.get("mask_cut", DataConfig.mask_cut) if mask_cut is None else mask_cut,
    )
