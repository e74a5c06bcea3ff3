"""The cache of training images is on the disk before it is used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cavga.data.dataset import cache_images
from cavga.data.manifest import sha256_of
from cavga.data.records import ImageRecord
from cavga.errors import CavgaError, DataError
from tests.conftest import save_image, texture


def records_of(folder, count):
    paths = [save_image(folder / f"{i}.png", texture(i)) for i in range(count)]
    return [ImageRecord(path=path, relative_path=path.name, label=0, split="train") for path in paths]


def hashes_of(records):
    return [sha256_of(record.path) for record in records]


def test_the_cache_holds_what_was_decoded_and_is_made_once(tmp_path):
    records = records_of(tmp_path / "a", 3)
    hashes = hashes_of(records)
    images = cache_images(records, hashes, size=(48, 48), folder=tmp_path / "cache")
    assert (images.shape, images.dtype) == ((3, 48, 48, 3), np.uint8)
    assert np.array_equal(images[1, :, :, 0], texture(1))
    (path,) = (tmp_path / "cache").iterdir()
    assert path.stat().st_blocks * 512 >= images.nbytes
    shutil.rmtree(tmp_path / "a")
    assert np.array_equal(cache_images(records, hashes, size=(48, 48), folder=tmp_path / "cache"), images)


def test_an_image_that_cannot_be_read_leaves_no_cache(tmp_path):
    records = records_of(tmp_path / "a", 3)
    records[2].path.write_bytes(b"")
    with pytest.raises(DataError, match="--skip-bad"):
        cache_images(records, hashes_of(records), size=(48, 48), folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_fills_up_is_one_line(tmp_path, monkeypatch):
    records = records_of(tmp_path / "a", 3)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CavgaError, match=r"cannot write .*images-.*npy: No space left on device; free space"):
        cache_images(records, hashes_of(records), size=(48, 48), folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


SMALL_DISK = """
set -e
mkdir -p "$1/disk"
mount -t tmpfs -o size=200k tmpfs "$1/disk"
shift
exec "$@"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small disk takes namespaces of Linux")
def test_training_onto_a_small_disk_is_one_line_and_no_bus_error(category, tmp_path):
    own = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*own, "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=False, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    train = [sys.executable, "-m", "cavga", "train", category, "--output", tmp_path / "disk/run"]
    small = ["--weights", "none", "--image-size", "96", "--device", "cpu", "--variant", "d-u", "--epochs", "1"]
    command = [*own, "sh", "-c", SMALL_DISK, "sh", tmp_path, *train, *small]
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 1, done.stderr
    assert "No space left on device; free space or choose another place" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
