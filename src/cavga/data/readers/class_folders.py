"""Sets of several classes, train/<class> and test/<class>, of which one is taken as normal. No torch.

The training split of the normal class is what is learnt from, the whole test split is the test: the
normal class has label 0, every other one label 1 and its name as defect type.
"""

from collections.abc import Sequence
from pathlib import Path

from cavga.data.folder_names import folders_of_split, mask_folders, says_good
from cavga.data.readers.layouts import normalised_name
from cavga.data.readers.published import FASHION_MNIST_CLASSES
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, ImageRecord
from cavga.errors import DataError, UsageError, unknown_name
from cavga.images.walk import find_images, is_copy, subfolders


def is_class_set(folder: Path, *, is_asked_for: bool = False) -> bool:
    """It has train/<class> and test/<class> of the same names, and none of them says good.

    With `is_asked_for`, any train/<name> and test/<name> will do.
    """
    train, test = (
        {path.name for part in folders_of_split(folder, split) for path in subfolders(part)}
        for split in ("train", "test")
    )
    if is_asked_for:
        return bool(train and test)
    says_normal = any(says_good(name) for name in train | test)
    return len(train) > 1 and bool(train & test) and not says_normal and not mask_folders(folder)


def find_classes(data: Path) -> Path | None:
    """`data` if it is a set of classes by itself."""
    return data if is_class_set(data) else None


def load_classes(data: Path, *, normal_class: str | None) -> Catalog:
    """What the folder `data` holds, with one class normal."""
    return read_classes(data, data, layout="classes", normal_class=normal_class)


def read_classes(root: Path, data: Path, *, layout: str, normal_class: str | None) -> Catalog:
    """What the folder `data` holds, with one class normal; paths are relative to `root`, at or above it."""
    names = class_names(data)
    if not names:
        raise DataError(f"{data}: expected train/<class> and test/<class> with images in them; check the path")
    normal = choose_class(normal_class, names, data)
    records, skipped = [], []
    for split, folders in (("train", [normal]), ("test", sorted(names))):
        for path in (path for name in folders for path in _images(data, split, name)):
            name = path.relative_to(data).parts[1]
            if is_copy(path) or path.parent.name != name:
                skipped.append(path)
                continue
            record = ImageRecord(
                path=path,
                relative_path=path.relative_to(root).as_posix(),
                label=NORMAL if name == normal else ANOMALOUS,
                split=split,
                category=normal,
                defect_type=None if name == normal else name,
            )
            records.append(record)
    if not records:
        raise DataError(f"{data}: no images in train/{normal} or test; copy the images there or check the path")
    return Catalog(
        root=root,
        layout=layout,
        category=normal,
        records=tuple(records),
        expects_masks=False,
        skipped=tuple(skipped),
    )


def class_names(folder: Path) -> list[str]:
    """The classes in their order: 0, 1, 2 .. as numbers, Fashion-MNIST's in its own, others by name."""
    parts = (*folders_of_split(folder, "train"), *folders_of_split(folder, "test"))
    names = {path.name for part in parts for path in subfolders(part)}
    if names == set(FASHION_MNIST_CLASSES):
        return list(FASHION_MNIST_CLASSES)
    return sorted(names, key=lambda name: (int(name) if name.isdecimal() else -1, name))


def choose_class(wanted: str | None, names: Sequence[str], data: Path) -> str:
    """The class that is meant: by its name, else by its number, else by its letters and digits alone."""
    if wanted is None:
        listed = ", ".join(names)
        raise UsageError(
            f"{data} holds several classes, choose the normal one with normal_class (--normal-class): {listed} "
            f"(or its number, 0 to {len(names) - 1})"
        )
    if wanted in names:
        return wanted
    if wanted.isdecimal() and int(wanted) < len(names):
        return names[int(wanted)]
    alike = [name for name in names if normalised_name(name) == normalised_name(wanted)]
    if len(alike) == 1:
        return alike[0]
    raise unknown_name("class", wanted, names)


def _images(folder: Path, split: str, name: str) -> list[Path]:
    """The images of one class in one split, whatever the case of the split's folder."""
    parts = (part / name for part in folders_of_split(folder, split))
    return [path for part in parts if part.is_dir() for path in find_images(part)]
