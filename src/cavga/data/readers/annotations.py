"""Data sets whose labels are a COCO file, as CVAT, Label Studio and other annotation tools export them. No torch.

An image with an annotation is bad, and its annotations are the mask; one without any is good. Masks are drawn once, at
the size of the photographs, into a hidden folder beside them.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from cavga.data.folder_names import GOOD, folders_of_split, meaning, says_good, split_of
from cavga.data.manifest import relative_to_root
from cavga.data.readers.listed_files import found_files
from cavga.data.readers.unpack import content_key, unpack
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, Finding, ImageRecord, split_in_words, with_test
from cavga.errors import DataError
from cavga.images.coco_shapes import shape_mask
from cavga.images.decode import read_image_size
from cavga.images.opening import ImageFileError
from cavga.images.walk import find_images, subfolders
from cavga.regular_files import read_regular
from cavga.structured_files import StructureError, parse_json

NO_DEFECT = "below the image threshold"  # a category of `cavga predict`: regions of photographs that are not anomalous
WRITTEN_BY_CAVGA = "Regions that cavga marks"
_FORMAT = b"1"  # part of the name of the folder of masks: change it with what is written


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    is_anomalous: bool | None = None
    """Of `cavga predict` alone: where nothing is outlined, the annotations do not say it."""


class _Annotation(msgspec.Struct):
    image_id: int | str
    category_id: int | str = ""
    segmentation: list[Any] | dict[str, Any] | None = None


class _Category(msgspec.Struct):
    id: int | str
    name: str = "defect"


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = []
    info: Any = None


@dataclass
class _Photograph:
    """What the files say of one image."""

    split: str | None
    is_anomalous: bool = False
    kinds: set[str] = field(default_factory=set)
    shapes: list[Any] = field(default_factory=list)
    """Of each defect: its segmentation, None where it has no more than a box."""


def find_coco(data: Path) -> Path | None:
    """`data` if it is a COCO file or a folder of one, but for one that has good images in train/good."""
    if data.is_file():
        return data
    kinds = (kind for part in folders_of_split(data, "train") for kind in subfolders(part))
    return data if not any(says_good(kind.name) for kind in kinds) and any(_files(data)) else None


def load_coco(data: Path) -> Catalog:
    """The images that the file or files of a set list, with their masks; raises DataError where there are none."""
    root, files = _set_of(data)
    photographs = _photographs(root, files)
    missing = sorted(path for path in photographs if not os.path.isfile(path))  # noqa: PTH113 (it takes any name)
    if len(missing) == len(photographs):
        raise _no_images(data, missing)
    masks, faults = _masks(root, photographs, [content for _, content, _ in files])
    is_split = any(one.split == "test" for one in photographs.values())
    records = [_record(path, one, masks.get(path), root, is_split=is_split) for path, one in photographs.items()]
    records = records if is_split else list(with_test(records))
    return Catalog(
        root=root,
        layout="coco",
        category=None,
        records=tuple(sorted(records, key=lambda record: (record.split != "train", record.relative_path))),
        expects_masks=bool(masks),
        missing=tuple(missing),
        skipped=tuple(path for path in find_images(root) if path not in photographs),
        remarks=(*_remarks(files, photographs, records, is_split=is_split), *faults),
    )


_File = tuple[Path, bytes, _Coco]


def _set_of(data: Path) -> tuple[Path, list[_File]]:
    """The folder of a set, and its files with their content."""
    if data.is_dir():
        return data, list(_files(data))
    content = _content(data)
    try:
        coco = parse_json(content, _Coco)
    except StructureError as error:
        raise DataError(f"{data}: expected a COCO file with images and annotations: {error}; export it again") from None
    root = data.parent.parent if data.parent.name.casefold() == "annotations" else data.parent
    return root, [(data, content, coco)]


def _files(folder: Path) -> Iterator[_File]:
    """The COCO files of a folder: in it, in annotations/ as CVAT writes them, and in folders of splits."""
    places = [folder, *(place for place in subfolders(folder) if place.name.casefold() == "annotations")]
    places += [place for split in ("train", "calibration", "test") for place in folders_of_split(folder, split)]
    for path in (path for place in places for path in sorted(place.glob("*.json")) if path.is_file()):
        content = _content(path)
        if b'"annotations"' not in content or b'"images"' not in content:
            continue
        try:
            yield path, content, parse_json(content, _Coco)
        except StructureError:  # another kind of file: who means this one gives its path
            continue


def _content(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error


def _photographs(root: Path, files: Sequence[_File]) -> dict[Path, _Photograph]:
    """Image -> what the files say of it, in their order; some may not be there."""
    photographs: dict[Path, _Photograph] = {}
    for file, _, coco in files:
        names = {one.id: one.name for one in coco.categories}
        places = found_files(root, file, [one.file_name for one in coco.images])
        here: dict[int | str, _Photograph] = {}
        for image, place in zip(coco.images, places, strict=True):
            one = here[image.id] = photographs.setdefault(place, _Photograph(_split_of(root, file)))
            one.is_anomalous |= bool(image.is_anomalous)
        for annotation in coco.annotations:
            kind = names.get(annotation.category_id, "defect")
            if annotation.image_id in here and kind != NO_DEFECT and meaning(kind) != GOOD:
                here[annotation.image_id].kinds.add(kind)
                here[annotation.image_id].shapes.append(annotation.segmentation or None)
    return photographs


def _split_of(root: Path, file: Path) -> str | None:
    """The split that a file's name or its folder's says: instances_Train.json, valid/_annotations.coco.json."""
    words = [*re.split(r"[_\W]+", file.stem), *file.parent.relative_to(root).parts]
    return next(filter(None, map(split_of, words)), None)


def _record(path: Path, one: _Photograph, mask: Path | None, root: Path, *, is_split: bool) -> ImageRecord:
    label = ANOMALOUS if one.shapes or one.is_anomalous else NORMAL
    split = (one.split or "train") if is_split else "train"
    return ImageRecord(
        path=path,
        relative_path=relative_to_root(path, root),
        label=label,
        split="test" if split == "calibration" and label == ANOMALOUS else split,  # good ones alone set thresholds
        mask_paths=() if mask is None else (mask,),
        defect_type="+".join(sorted(one.kinds)) or None,
    )


def _masks(
    root: Path, photographs: Mapping[Path, _Photograph], contents: Sequence[bytes]
) -> tuple[dict[Path, Path], list[Finding]]:
    """Image -> its mask, as far as all of its annotations have shapes; and what is wrong with the others."""
    sizes: dict[Path, tuple[int, int]] = {}
    for path in (path for path, one in photographs.items() if one.shapes and None not in one.shapes):
        with contextlib.suppress(ImageFileError):  # which `check`, and whoever reads it, says
            sizes[path] = read_image_size(path)
    if not sizes:
        return {}, []
    names = {path: f"{i:05d}_{path.stem}.png" for i, path in enumerate(sizes)}
    drawn = [(names[path], photographs[path].shapes, size) for path, size in sizes.items()]
    key = content_key(_FORMAT, *contents, *(os.fsencode(f"{name} {size}") for name, _, size in drawn))
    folder = unpack(root, f".coco-masks-{key}", partial(_draw, drawn))
    masks = {path: folder / name for path, name in names.items() if (folder / name).is_file()}
    faults = [_fault(path, photographs[path].shapes, sizes[path], root) for path in sizes if path not in masks]
    return masks, faults


def _draw(drawn: Sequence[tuple[str, Sequence[Any], tuple[int, int]]], folder: Path) -> None:
    for name, shapes, size in drawn:
        with contextlib.suppress(ValueError):  # `_fault` says why there is no file
            mask = np.logical_or.reduce([shape_mask(shape, size) for shape in shapes])
            Image.fromarray(mask).save(folder / name)


def _fault(path: Path, shapes: Sequence[Any], size: tuple[int, int], root: Path) -> Finding:
    """Why an image has no mask."""
    problem = "its mask was removed"
    try:
        for shape in shapes:
            shape_mask(shape, size)
    except ValueError as error:
        problem = f"an annotation has {error}"
    remedy = "mend it in the annotation tool and export it again"
    return Finding("error", relative_to_root(path, root), problem, remedy)


def _remarks(
    files: Sequence[_File], photographs: Mapping[Path, _Photograph], records: Sequence[ImageRecord], *, is_split: bool
) -> Iterator[Finding]:
    """What was made of the file, in a line each."""
    name = files[0][0].name
    kinds = Counter(kind for one in photographs.values() for kind in one.kinds)
    listed = ", ".join(f"{kind} ({count} images)" for kind, count in sorted(kinds.items())) or "none"
    num_good = sum(record.label == NORMAL for record in records)
    problem = f"annotations taken as defects: {listed}; {num_good} images without one as good"
    yield Finding("note", name, problem, "name a category good where it marks none")
    if not is_split:
        yield Finding(
            "note", name, f"gives no split: {split_in_words(records)}", "export subsets train and test to choose"
        )
    if any(isinstance(coco.info, dict) and coco.info.get("description") == WRITTEN_BY_CAVGA for *_, coco in files):
        problem = "is of `cavga predict`, and says what a model found, not what is true"
        yield Finding("warning", name, problem, "look through it in an annotation tool before you measure by it")
    num_boxes = sum(None in one.shapes for one in photographs.values())
    if num_boxes:
        problem = f"{num_boxes} images have boxes, which are no masks"
        yield Finding("warning", name, problem, "draw outlines or brush marks if localization is to be measured")


def _no_images(data: Path, missing: Sequence[Path]) -> DataError:
    if not missing:
        return DataError(f"{data}: lists no images; export it with them")
    return DataError(
        f"{data}: none of the {len(missing)} images it lists is there, the first is {missing[0]}; put the file into "
        "the folder of the photographs, or export it with them"
    )
