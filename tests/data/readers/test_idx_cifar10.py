import gzip
import hashlib
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.data.check import count_images
from cavga.data.manifest import sha256_of
from cavga.data.readers.published import CIFAR10_CLASSES, IDX_LABEL_DIGESTS
from cavga.data.readers.unpack import logged, unpack
from cavga.errors import CavgaError, DataError, UsageError
from cavga.images.decode import read_image
from tests.data.made_sets import cifar10_binary, cifar10_image, idx, noise


def counts(catalog):
    found = count_images(catalog)
    return found["train_normal"], found["test_normal"], found["test_anomalous"]


# --- IDX ---


def test_one_class_of_mnist_is_normal_and_the_whole_test_split_is_the_test(tmp_path):
    raw = idx(tmp_path / "MNIST/raw")
    catalog = load_catalog(tmp_path / "MNIST", normal_class="7")
    assert (catalog.layout, catalog.category, catalog.title) == ("idx", "7", "MNIST, 7")
    assert counts(catalog) == (4, 2, 18)
    assert {r.defect_type for r in catalog.split("test")} == {None, *"012345689"}
    assert all(r.label == (r.defect_type is not None) for r in catalog.records)
    assert {r.relative_path.split("/", 1)[1] for r in catalog.split("train")} == {
        f"train/7/{i:05d}.bmp" for i in (7, 17, 27, 37)
    }
    for other in (raw, tmp_path):  # torchvision's root, and the files' own folder
        assert load_catalog(other, normal_class="7").records == catalog.records


def test_unpacking_loses_nothing_and_adds_a_black_border(tmp_path):
    idx(tmp_path / "MNIST/raw")
    catalog = load_catalog(tmp_path / "MNIST", normal_class="3")
    for record, seed in zip(catalog.split("train"), (3, 13, 23, 33), strict=True):
        image = read_image(record.path)
        assert image.shape == (32, 32, 3)
        assert np.array_equal(image[2:30, 2:30, 0], noise(seed, 28, 28))
        assert image.sum() == image[2:30, 2:30].sum()


def test_the_same_files_are_unpacked_once_and_to_the_same_bytes(tmp_path, caplog):
    caplog.set_level("INFO", "cavga")
    idx(tmp_path / "a/raw")
    first = load_catalog(tmp_path / "a", normal_class="0")
    assert f"unpacking into {first.root}/unpacked-" in caplog.text
    before = first.records[0].path.stat().st_mtime_ns
    caplog.clear()
    assert load_catalog(tmp_path / "a", normal_class="1").root == first.root
    assert caplog.text == ""
    assert first.records[0].path.stat().st_mtime_ns == before
    shutil.copytree(tmp_path / "a/raw", tmp_path / "b/raw")
    second = load_catalog(tmp_path / "b", normal_class="0")
    assert [r.relative_path for r in second.records] == [r.relative_path for r in first.records]
    assert [sha256_of(r.path) for r in second.records] == [sha256_of(r.path) for r in first.records]


def test_of_a_gz_no_more_is_unpacked_than_its_header_says(tmp_path):
    idx(tmp_path / "raw")
    path = tmp_path / "raw/train-images-idx3-ubyte"
    with gzip.open(f"{path}.gz", "wb", compresslevel=1) as file:
        file.write(path.read_bytes())
        for _ in range(64):
            file.write(bytes(2**20))
    path.unlink()
    tracemalloc.start()
    with pytest.raises(DataError, match="its header says"):
        load_catalog(tmp_path, normal_class="0")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_other_files_are_unpacked_anew(tmp_path):
    idx(tmp_path / "raw")
    first = load_catalog(tmp_path, normal_class="0")
    idx(tmp_path / "raw", num_train=50)
    assert counts(load_catalog(tmp_path, normal_class="0")) == (5, 2, 18)
    assert counts(first) == (4, 2, 18)


def test_compressed_and_dotted_names_are_read_too(tmp_path):
    raw = idx(tmp_path / "plain/raw")
    gz = tmp_path / "gz/raw"
    gz.mkdir(parents=True)
    for path in raw.iterdir():
        (gz / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    dotted = tmp_path / "dotted/raw"
    shutil.copytree(raw, dotted)
    for path in list(dotted.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    expected = [r.relative_path for r in load_catalog(raw, normal_class="2").records]
    assert [r.relative_path for r in load_catalog(gz, normal_class="2").records] == expected
    assert [r.relative_path for r in load_catalog(dotted, normal_class="2").records] == expected


@pytest.mark.parametrize("name", ["Ankle boot", "ankle_boot", "9"])
def test_fashion_mnist_is_known_by_its_folder_and_has_names(tmp_path, name):
    idx(tmp_path / "FashionMNIST/raw")
    catalog = load_catalog(tmp_path / "FashionMNIST", normal_class=name)
    assert catalog.category == "Ankle boot"
    assert "T-shirt_top" in {r.defect_type for r in catalog.records}
    assert load_catalog(tmp_path / "FashionMNIST", normal_class="T-shirt/top").category == "T-shirt_top"


def test_two_sets_of_one_layout_need_a_choice(tmp_path):
    idx(tmp_path / "MNIST/raw")
    idx(tmp_path / "FashionMNIST/raw")
    with pytest.raises(UsageError, match=r"holds several sets, give one of them: .*MNIST/raw, .*FashionMNIST/raw"):
        load_catalog(tmp_path, normal_class="0")


def test_the_labels_of_one_set_in_the_folder_of_the_other_are_refused(tmp_path, monkeypatch):
    raw = idx(tmp_path / "FashionMNIST/raw")
    digest = hashlib.md5((raw / "t10k-labels-idx1-ubyte").read_bytes()).hexdigest()
    monkeypatch.setitem(IDX_LABEL_DIGESTS, digest, "MNIST")
    with pytest.raises(DataError, match="the labels of MNIST, but the folder is called otherwise"):
        load_catalog(tmp_path / "FashionMNIST", normal_class="0")


def test_a_class_has_to_be_chosen_and_to_exist(tmp_path):
    idx(tmp_path / "MNIST/raw")
    with pytest.raises(UsageError, match=r"--normal-class\): 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 \(or its number") as caught:
        load_catalog(tmp_path / "MNIST")
    assert caught.value.exit_code == 2
    assert not list((tmp_path / "MNIST").glob("unpacked-*"))  # found before anything is written
    with pytest.raises(UsageError, match="unknown class 'ten'"):
        load_catalog(tmp_path / "MNIST", normal_class="ten")


def labels_of(raw):
    return raw / "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: labels_of(raw).unlink(), "train-labels-idx1-ubyte is missing: expected .* MNIST is at yann"),
        (lambda raw: labels_of(raw).write_bytes(labels_of(raw).read_bytes()[:-3]), "has 45 bytes, its header says 48"),
        (lambda raw: labels_of(raw).write_bytes(b""), "begins with 0, expected 2049"),
        (
            lambda raw: labels_of(raw).write_bytes((raw / "train-images-idx3-ubyte").read_bytes()),
            "begins with 2051, expected 2049: not the IDX file its name says",
        ),
        (lambda raw: labels_of(raw).write_bytes(struct.pack(">2I", 2049, 3) + b"\1\2\3"), "40 images in .* 3 labels"),
        (
            lambda raw: labels_of(raw).write_bytes(struct.pack(">2I", 2049, 40) + b"\12" * 40),
            "label 10 in train-labels",
        ),
        (
            lambda raw: (raw / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 0, 64, 64)),
            "0 images in t10k-images-idx3-ubyte, but 20",
        ),
    ],
)
def test_broken_idx_files_are_named(tmp_path, spoil, message):
    spoil(idx(tmp_path / "MNIST/raw"))
    with pytest.raises(DataError, match=message) as caught:
        load_catalog(tmp_path / "MNIST", normal_class="1")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "MNIST").glob("unpacked-*"))


def test_broken_gz_and_too_large_images_are_named(tmp_path):
    raw = idx(tmp_path / "MNIST/raw")
    content = gzip.compress(labels_of(raw).read_bytes())
    labels_of(raw).unlink()
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(content[:-4])
    with pytest.raises(DataError, match=r"ubyte.gz: cannot be decompressed"):
        load_catalog(raw, normal_class="1")
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(content)
    (raw / "train-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 40, 33, 33) + bytes(40 * 33 * 33))
    with pytest.raises(DataError, match=r"images of 33 x 33 px .* expected 28 x 28"):
        load_catalog(raw, normal_class="1")


# --- CIFAR-10 ---


@pytest.mark.parametrize("given", ["cifar10", "cifar10/cifar-10-batches-bin"])
def test_cifar10_binary(tmp_path, given):
    cifar10_binary(tmp_path / "cifar10/cifar-10-batches-bin")
    catalog = load_catalog(tmp_path / given, normal_class="cat")
    assert (catalog.layout, catalog.category) == ("cifar10", "cat")
    assert counts(catalog) == (5, 1, 9)
    assert {r.defect_type for r in catalog.split("test")} == {None, *CIFAR10_CLASSES} - {"cat"}
    for batch, record in enumerate(catalog.split("train")):  # cat is 3
        assert np.array_equal(read_image(record.path), cifar10_image(batch, 3))
    assert load_catalog(tmp_path / given, normal_class="3").records == catalog.records


def test_python_batches_are_refused_by_name(tmp_path):
    folder = tmp_path / "cifar10/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"\x80\x04.")
    for data in (folder, folder.parent):
        with pytest.raises(DataError, match=r"pickles: .* none is read; get the binary version .* class folders"):
            load_catalog(data, normal_class="cat")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"data_batch_4.bin: is missing; CIFAR-10 is at www.cs.toronto.edu"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 30729 bytes, expected a multiple of 3073"),
        (lambda path: path.write_bytes(b"\x0a" + bytes(3072)), "label 10, expected 0 to 9"),
        (lambda path: path.write_bytes(b""), "has 0 bytes, expected a multiple of 3073"),
    ],
)
def test_broken_batches_are_named(tmp_path, spoil, message):
    spoil(cifar10_binary(tmp_path) / "data_batch_4.bin")
    with pytest.raises(DataError, match=message):
        load_catalog(tmp_path, normal_class="cat")


# --- where it is unpacked to ---


def test_a_folder_that_cannot_be_written_is_unpacked_into_the_cache(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "cavga")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    idx(tmp_path / "MNIST/raw")
    refuse_below(monkeypatch, tmp_path / "MNIST")
    catalog = load_catalog(tmp_path / "MNIST", normal_class="0")
    assert catalog.root.is_relative_to(tmp_path / "cache/cavga")
    assert catalog.title == "MNIST, 0"
    assert str(catalog.root) in caplog.text
    caplog.clear()
    assert load_catalog(tmp_path / "MNIST", normal_class="0").records == catalog.records
    assert caplog.text == ""
    refuse_below(monkeypatch, tmp_path)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(CavgaError, match="set XDG_CACHE_HOME to a folder that can be written"):
        load_catalog(tmp_path / "MNIST", normal_class="0")


def refuse_below(monkeypatch, folder):
    """Making folders below `folder` fails, as on a disk that is read only (root may write everywhere else)."""
    mkdir = Path.mkdir

    def refusing(path, *arguments, **options):
        if path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refusing)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_nothing_behind(tmp_path, monkeypatch, error):
    idx(tmp_path / "MNIST/raw")
    save, saved = Image.Image.save, []

    def failing(image, path, **options):
        if len(saved) == 30:
            raise error
        saved.append(path)
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises((CavgaError, KeyboardInterrupt)) as caught:
        load_catalog(tmp_path / "MNIST", normal_class="0")
    if isinstance(error, OSError):
        assert "No space left on device; free space" in str(caught.value)
    assert [path.name for path in (tmp_path / "MNIST").iterdir()] == ["raw"]
    monkeypatch.setattr(Image.Image, "save", save)
    assert counts(load_catalog(tmp_path / "MNIST", normal_class="0")) == (4, 2, 18)


def test_two_at_once_end_with_one_folder(tmp_path):
    def fill(folder):
        (folder / "a").write_text("first")
        if not (tmp_path / "made").is_dir():  # another process comes in between, and is quicker
            unpack(tmp_path, "made", lambda other: (other / "a").write_text("second") and None)

    assert unpack(tmp_path, "made", fill) == tmp_path / "made"
    assert (tmp_path / "made/a").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_long_work_says_how_far_it_is(monkeypatch, caplog):
    caplog.set_level("INFO", "cavga")
    monkeypatch.setattr("cavga.data.readers.unpack.SECONDS_BETWEEN_LINES", -1.0)
    assert list(logged(["a", "b"], "clips: {} of {}")) == ["a", "b"]
    assert caplog.messages == ["clips: 1 of 2", "clips: 2 of 2"]
