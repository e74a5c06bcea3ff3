"""LAG (glaucoma): {non_glaucoma,suspicious_glaucoma}/{image,attention_map,label}/NNNN. No torch.

The split is MedIAnomaly's, which draws nothing: sorted by name, the first 1,500 normal images are for
training and the next 811 for the test, together with the first 811 suspicious ones. Of fewer normal images
the same share is for training.

An attention map says where the doctor looked, softly. What of it is the mask is a setting, `mask_cut`: the
map is resized to its image and cut at that share of its maximum. Normal images have maps too, which mark
nothing abnormal and are not used.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cavga.data.readers.unpack import content_key, logged, unpack
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, Finding, ImageRecord
from cavga.errors import DataError, UsageError
from cavga.images.decode import load_image, read_bytes, read_image_size
from cavga.images.walk import find_images, is_copy, subfolders

NUM_TRAIN, NUM_TEST = 1500, 811  # normal images; of suspicious ones NUM_TEST too
_FOLDERS = {NORMAL: ("non_glaucoma",), ANOMALOUS: ("suspicious_glaucoma", "glaucoma")}


def find_lag(data: Path) -> Path | None:
    """`data` or the one folder in it (LAG_database_part_1) that holds both classes."""
    found = [folder for folder in (data, *subfolders(data)) if all(_class_folder(folder, k) for k in _FOLDERS)]
    if len(found) > 1:
        raise UsageError(f"{data} holds several copies of LAG, give one of them: {', '.join(map(str, found))}")
    return found[0] if found else None


def load_lag(root: Path, *, mask_cut: float) -> Catalog:
    """The training and test images of LAG, with masks made from the attention maps of suspicious ones."""
    normal, suspicious = (_images(root, label) for label in (NORMAL, ANOMALOUS))
    num_train = min(NUM_TRAIN, round(len(normal) * NUM_TRAIN / (NUM_TRAIN + NUM_TEST)))
    taken = [(path, "train", NORMAL) for path in normal[:num_train]]
    taken += [(path, "test", NORMAL) for path in normal[num_train : num_train + NUM_TEST]]
    taken += [(path, "test", ANOMALOUS) for path in suspicious[:NUM_TEST]]
    maps = {label: _maps(root, label) for label in _FOLDERS}
    masks = _masks(root, [(path, maps[ANOMALOUS].get(path.stem)) for path in suspicious[:NUM_TEST]], mask_cut)
    records = [
        ImageRecord(
            path=path,
            relative_path=path.relative_to(root).as_posix(),
            label=label,
            split=split,
            mask_paths=(masks[path],) if path in masks else (),
            defect_type="suspicious_glaucoma" if label == ANOMALOUS else None,
        )
        for path, split, label in taken
    ]
    if not records:
        raise DataError(f"{root}: no images in non_glaucoma/image or suspicious_glaucoma/image; check the path")
    stems = {NORMAL: {path.stem for path in normal}, ANOMALOUS: {path.stem for path in suspicious}}
    return Catalog(
        root=root,
        layout="lag",
        category=None,
        records=tuple(records),
        expects_masks=True,
        orphan_masks=tuple(path for k in _FOLDERS for stem, path in maps[k].items() if stem not in stems[k]),
        remarks=(*_spare(len(normal) + len(suspicious) - len(taken)), *_labels(records)),
    )


def spare_suspicious(root: Path) -> tuple[ImageRecord, ...]:
    """The suspicious images that the split leaves over, as training images labelled anomalous, without masks."""
    return tuple(
        ImageRecord(path=path, relative_path=path.relative_to(root).as_posix(), label=ANOMALOUS, split="train")
        for path in _images(root, ANOMALOUS)[NUM_TEST:]
    )


def _class_folder(root: Path, label: int) -> Path | None:
    return next((root / name for name in _FOLDERS[label] if (root / name / "image").is_dir()), None)


def _images(root: Path, label: int) -> list[Path]:
    folder = _class_folder(root, label)
    found = [] if folder is None else find_images(folder / "image")
    return sorted((path for path in found if not is_copy(path)), key=lambda path: path.name)


def _maps(root: Path, label: int) -> dict[str, Path]:
    """The attention maps of one class by the name of their image."""
    folder = _class_folder(root, label)
    maps = None if folder is None else folder / "attention_map"
    return {path.stem: path for path in find_images(maps)} if maps and maps.is_dir() else {}


def _masks(root: Path, pairs: Sequence[tuple[Path, Path | None]], cut: float) -> dict[Path, Path]:
    """Image -> its mask, made from its attention map; without one it has none, which `check` reports."""
    sources = [(image, soft) for image, soft in pairs if soft is not None]

    def fill(folder: Path) -> None:
        for image, soft in logged(sources, "attention maps: {} of {}"):
            _write_mask(folder / f"{image.stem}.png", image, soft, cut)

    key = content_key(repr(cut).encode(), *(read_bytes(path) for pair in sources for path in pair))
    folder = unpack(root, f"masks-{cut}-{key}", fill) if sources else root
    return {image: folder / f"{image.stem}.png" for image, _ in sources}


def _write_mask(path: Path, image: Path, soft: Path, cut: float) -> None:
    height, width = read_image_size(image)
    grey = load_image(read_bytes(soft), soft).convert("F")
    values = np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))
    # An all-black map has no maximum to speak of: its mask stays empty, which `check` reports.
    mask = (values >= cut * values.max()) & (values > 0)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def _spare(count: int) -> Iterator[Finding]:
    if count:
        remedy = "nothing to do: results of this split stay comparable"
        yield Finding("note", ".", f"{count} images are spare in the split of MedIAnomaly and left out", remedy)


def _labels(records: Sequence[ImageRecord]) -> Iterator[Finding]:
    """label/NNNN.txt repeats the folder: 0 or 1. Where it says otherwise, one of the two is wrong."""
    for record in records:
        folder = record.path.parent.parent / "label"
        path = folder / f"{record.path.stem}.txt"
        if not folder.is_dir():
            continue
        if not path.is_file():
            yield Finding(
                "warning", record.relative_path, f"has no {path.name} in label/", "its folder's label is used"
            )
        elif read_bytes(path).decode(errors="replace").strip() != str(record.label):
            problem = f"label/{path.name} does not say {record.label}, as its folder does"
            yield Finding("error", record.relative_path, problem, "move the image or mend the label")
