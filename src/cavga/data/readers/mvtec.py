"""MVTec-style categories (train/good, test/<type>, ground_truth/<type>), and plain folders of good images. No torch.

Image and mask meet by name, never by order.
"""

from collections import defaultdict
from pathlib import Path

from cavga.data.folder_names import folders_of_split, mask_folders, says_good, says_mask, split_folders
from cavga.data.readers.layouts import where_to_get
from cavga.data.records import ANOMALOUS, NORMAL, SPLITS, Catalog, ImageRecord
from cavga.errors import DataError, UsageError, unknown_name
from cavga.images.walk import find_images, is_copy, subfolders

_MasksByName = dict[tuple[str, ...], list[Path]]


def find_mvtec(data: Path) -> Path | None:
    """`data` if it is a category or holds some."""
    return data if any(_is_mvtec(folder) for folder in (data, *subfolders(data))) else None


def find_folder(data: Path) -> Path:
    """`data`, whatever it holds."""
    return data


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
    train, test = folders_of_split(folder, "train"), folders_of_split(folder, "test")
    if any(says_good(kind.name) for part in train for kind in subfolders(part)):
        return True
    has_loose_images = any(not subfolders(part) for part in train)
    return any(subfolders(part) for part in test) and not has_loose_images


def load_folder(root: Path) -> Catalog:
    """Every image of a folder, taken as good."""
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


def load_mvtec(data: Path, *, category: str | None) -> Catalog:
    """One category: `data` itself or a folder in it."""
    root = _category_folder(data, category)
    if root is None:
        raise DataError(f"{data}: expected train/good in it for layout 'mvtec'; check the path")
    truth = mask_folders(root)
    masks = _masks_by_name(truth)
    records, skipped = [], []
    for folder, split in sorted(split_folders(root).items(), key=lambda item: (SPLITS.index(item[1]), item[0])):
        for path in find_images(folder):
            record = _mvtec_record(root, path, split, masks)
            if record is None:
                skipped.append(path)
            else:
                records.append(record)
    if not records:
        raise DataError(f"{root}: no images in train/good or test; copy the images there or check the path")
    paired = {mask for record in records for mask in record.mask_paths}
    every_mask = (mask for files in masks.values() for mask in files)
    skipped += _beside_the_splits(root, truth)
    return Catalog(
        root=root,
        layout="mvtec",
        category=root.name,
        records=tuple(records),
        expects_masks=bool(truth),
        orphan_masks=tuple(sorted(mask for mask in every_mask if mask not in paired)),
        skipped=tuple(skipped),
    )


def _beside_the_splits(root: Path, truth: list[Path]) -> list[Path]:
    """Images in `root` that lie in no split and in no folder of masks: nothing reads them."""
    read = [*split_folders(root), *truth]
    return [path for path in find_images(root) if not any(path.is_relative_to(folder) for folder in read)]


def _mvtec_record(root: Path, path: Path, split: str, masks: _MasksByName) -> ImageRecord | None:
    """The record of ROOT/<split>/<type>/<name>; None for a file that lies elsewhere, is a mask or a copy."""
    parts = path.relative_to(root).parts
    if len(parts) != 3 or is_copy(path) or says_mask(parts[1]):
        return None
    kind, is_good = parts[1], says_good(parts[1])
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


def _masks_by_name(truth: list[Path]) -> _MasksByName:
    """Below ground_truth: (type, stem) -> file; (type, stem, "") -> the files of a folder <stem> (LOCO)."""
    masks: _MasksByName = defaultdict(list)
    for folder in truth:
        for path in find_images(folder):
            parts = path.relative_to(folder).parts
            key = (*parts[:-1], path.stem) if len(parts) <= 2 else (*parts[:-1], "")
            masks[key[0].casefold(), *key[1:]].append(path)
    return masks


def _masks_of(kind: str, stem: str, masks: _MasksByName) -> tuple[Path, ...]:
    for key in ((f"{stem}_mask",), (stem,), (stem, "")):
        if (kind.casefold(), *key) in masks:
            return tuple(masks[kind.casefold(), *key])
    return ()
