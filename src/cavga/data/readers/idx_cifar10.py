"""MNIST and Fashion-MNIST (IDX files) and CIFAR-10 (binary version), unpacked into train/<class> and test/<class>.

An image is written as BMP: nothing is lost, and its bytes follow from its pixels alone, so that its hash is
the same on every machine. The 28 x 28 px of IDX files get a black border up to 32, they are not stretched.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.data.readers.class_folders import choose_class, read_classes
from cavga.data.readers.layouts import where_to_get
from cavga.data.readers.published import (
    CIFAR10_CLASSES,
    FASHION_MNIST_CLASSES,
    IDX_LABEL_DIGESTS,
    MNIST_CLASSES,
)
from cavga.data.readers.unpack import content_key, logged, unpack
from cavga.data.records import Catalog
from cavga.errors import DataError, UsageError
from cavga.images.decode import read_bytes

SIDE = 32  # px
MAX_IDX_BYTES = 2**28  # unpacked: MNIST's largest has 47 million
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049
_IDX_STEMS = {"train": "train", "test": "t10k"}
_CIFAR10_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_RECORD = 1 + 3 * SIDE * SIDE  # a label, then all of red, green, blue
_FORMAT = b"1"  # part of the unpacked folder's name: change it with what is written
_AGAIN = "copy it from its source again"


class _Split(NamedTuple):
    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def find_idx(data: Path) -> Path | None:
    """The folder with the IDX files: `data`, its raw/, or as torchvision lays them out below it."""
    places = (data, data / "raw", data / "MNIST/raw", data / "FashionMNIST/raw")
    found = [place for place in places if any(_idx_path(place, f"{stem}-images-idx3") for stem in _IDX_STEMS.values())]
    if len(found) > 1:
        raise UsageError(f"{data} holds several sets, give one of them: {', '.join(map(str, found))}")
    return found[0] if found else None


def load_idx(folder: Path, *, normal_class: str | None) -> Catalog:
    """MNIST or Fashion-MNIST in `folder`, with one class normal."""
    splits = [_idx_split(folder, name, stem) for name, stem in _IDX_STEMS.items()]
    names = _idx_classes(folder, splits)
    normal = choose_class(normal_class, names, folder)
    place = folder.parent if folder.name == "raw" else folder
    return _load(place, splits, names, layout="idx", normal=normal)


def find_cifar10(data: Path) -> Path | None:
    """The folder with the binary batches; raises DataError on Python's ones, which are pickles."""
    files = [name for names in _CIFAR10_FILES.values() for name in names]
    for place in (data, data / "cifar-10-batches-bin"):
        if any((place / name).is_file() for name in files):
            return place
    for place in (data, data / "cifar-10-batches-py"):
        if any((place / name.removesuffix(".bin")).is_file() for name in files):
            raise DataError(
                f"{place}: these are CIFAR-10's Python batches, which are pickles: reading one can run any program, so "
                "none is read; get the binary version (cifar-10-batches-bin/*.bin) or class folders "
                "(train/<class>/*.png, test/<class>/*.png)"
            )
    return None


def load_cifar10(folder: Path, *, normal_class: str | None) -> Catalog:
    """The binary version of CIFAR-10 in `folder`, with one class normal."""
    normal = choose_class(normal_class, CIFAR10_CLASSES, folder)
    splits = []
    for name, files in _CIFAR10_FILES.items():
        batches = np.concatenate([_cifar10_batch(folder / file) for file in files])
        images = batches[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        splits.append(_Split(name, images, batches[:, 0]))
    return _load(folder, splits, CIFAR10_CLASSES, layout="cifar10", normal=normal)


def _load(place: Path, splits: Sequence[_Split], names: Sequence[str], *, layout: str, normal: str) -> Catalog:
    """Unpack what was not yet, and read that as class folders."""

    def fill(folder: Path) -> None:
        for split in splits:
            for name in {names[label] for label in split.labels}:
                (folder / split.name / name).mkdir(parents=True)
            pairs = list(zip(split.images, split.labels, strict=True))
            for i, (image, label) in enumerate(logged(pairs, split.name + ": {} of {} images")):
                path = folder / split.name / names[label] / f"{i:05d}.bmp"
                Image.fromarray(np.ascontiguousarray(image)).save(path)

    contents = [part.tobytes() for split in splits for part in (split.images, split.labels)]
    folder = unpack(place, f"unpacked-{content_key(_FORMAT, *contents)}", fill)
    return read_classes(folder.parent, folder, layout=layout, normal_class=normal)


def _idx_path(folder: Path, stem: str) -> Path | None:
    """STEM-ubyte or STEM.gz, spelled with a dot by some: plain files come first, torchvision leaves both."""
    spellings = (f"{stem}-ubyte", f"{stem[:-5]}.{stem[-4:]}-ubyte")
    paths = [folder / f"{name}{suffix}" for suffix in ("", ".gz") for name in spellings]
    return next((path for path in paths if path.is_file()), None)


def _idx_split(folder: Path, name: str, stem: str) -> _Split:
    images = _idx_array(folder, f"{stem}-images-idx3", IMAGES_MAGIC)
    labels = _idx_array(folder, f"{stem}-labels-idx1", LABELS_MAGIC)
    if len(images) != len(labels):
        raise DataError(
            f"{folder}: {len(images)} images in {stem}-images-idx3-ubyte, but {len(labels)} labels in "
            f"{stem}-labels-idx1-ubyte; copy both from one source"
        )
    height, width = images.shape[1:]
    if max(height, width) > SIDE:
        raise DataError(
            f"{folder}: images of {width} x {height} px in {stem}-images-idx3-ubyte; expected 28 x 28, at most {SIDE}"
        )
    if len(labels) and labels.max() > 9:
        raise DataError(
            f"{folder}: label {labels.max()} in {stem}-labels-idx1-ubyte; expected 0 to 9: not (Fashion-)MNIST"
        )
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    border = ((0, 0), (top, SIDE - height - top), (left, SIDE - width - left))
    return _Split(name, np.pad(images, border), labels)


def _idx_array(folder: Path, stem: str, magic: int) -> NDArray[np.uint8]:
    """The content of one IDX file; big-endian: magic, one size per axis, then bytes."""
    path = _idx_path(folder, stem)
    if path is None:
        expected = f"expected {stem}-ubyte or {stem}-ubyte.gz beside the others"
        raise DataError(f"{folder}: {stem}-ubyte is missing: {expected}; {where_to_get(folder.as_posix())}")
    num_axes = 1 if magic == LABELS_MAGIC else 3
    start = 4 * (1 + num_axes)
    content = _decompressed(path, start) if path.suffix == ".gz" else read_bytes(path)
    found, *shape = struct.unpack(f">{1 + num_axes}I", content[:start].ljust(start, b"\0"))
    if found != magic:
        raise DataError(f"{path}: begins with {found}, expected {magic}: not the IDX file its name says; {_AGAIN}")
    expected_size = start + math.prod(shape)
    if len(content) != expected_size:
        raise DataError(f"{path}: has {len(content)} bytes, its header says {expected_size}: incomplete; {_AGAIN}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _decompressed(path: Path, start: int) -> bytes:
    """What an IDX file in a .gz holds, but no more than its header of `start` bytes says."""
    try:
        with gzip.open(BytesIO(read_bytes(path))) as file:
            header = file.read(start)
            shape = struct.unpack(f">{start // 4 - 1}I", header[4:].ljust(start - 4, b"\0"))
            return header + file.read(min(math.prod(shape), MAX_IDX_BYTES) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be decompressed: {error}; {_AGAIN}") from error


def _idx_classes(folder: Path, splits: Sequence[_Split]) -> tuple[str, ...]:
    """Which of the sets with these file names it is: by the content of its labels, else by its folder's name."""
    files = (struct.pack(">2I", LABELS_MAGIC, len(split.labels)) + split.labels.tobytes() for split in splits)
    digests = (hashlib.md5(file, usedforsecurity=False).hexdigest() for file in files)
    by_content = {IDX_LABEL_DIGESTS[digest] for digest in digests if digest in IDX_LABEL_DIGESTS}
    near = "/".join(folder.parts[-2:]).lower()
    is_predicted_anomalous = "Fashion-MNIST" if "fashion" in near else "MNIST" if "mnist" in near else None
    if len(by_content | {is_predicted_anomalous} - {None}) > 1:
        found = " and of ".join(sorted(by_content))
        raise DataError(
            f"{folder}: these are the labels of {found}, but the folder is called otherwise or holds both: their files "
            "have the same names; give each set a folder of its own, MNIST/raw and FashionMNIST/raw"
        )
    is_fashion = "Fashion-MNIST" in by_content or is_predicted_anomalous == "Fashion-MNIST"
    return FASHION_MNIST_CLASSES if is_fashion else MNIST_CLASSES


def _cifar10_batch(path: Path) -> NDArray[np.uint8]:
    if not path.is_file():
        raise DataError(f"{path}: is missing; {where_to_get('cifar10')}")
    content = np.frombuffer(read_bytes(path), np.uint8)
    if not len(content) or len(content) % _RECORD:
        raise DataError(f"{path}: has {len(content)} bytes, expected a multiple of {_RECORD}: incomplete; {_AGAIN}")
    batch = content.reshape(-1, _RECORD)
    if batch[:, 0].max() >= len(CIFAR10_CLASSES):
        raise DataError(f"{path}: label {batch[:, 0].max()}, expected 0 to 9: not a batch of CIFAR-10; {_AGAIN}")
    return batch
