import shutil

import numpy as np
import pytest
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.data.check import Finding, check_catalog, count_images


def photo(path, seed, size=(24, 32), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)


def mask(path, size=(24, 32), value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[4:9, 3:9] = value
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    """A set in MVTec layout with nothing wrong."""
    root = tmp_path / "Prüfling 1"
    for i in range(20):
        photo(root / f"train/good/{i:03d}.png", i)
    photo(root / "test/good/ö ä.png", 100)
    photo(root / "test/cut/000.png", 101)
    mask(root / "ground_truth/cut/000_mask.png")
    return root


def found(data, severity):
    """(path, problem) of every finding of that severity."""
    return [(f.path, f.problem) for f in check_catalog(load_catalog(data)) if f.severity == severity]


def test_nothing_is_wrong_with_a_good_set(root):
    catalog = load_catalog(root)
    assert check_catalog(catalog) == []
    assert count_images(catalog) == {
        "train_normal": 20,
        "train_anomalous": 0,
        "calibration_normal": 0,
        "test_normal": 1,
        "test_anomalous": 1,
        "test_unknown": 0,
        "with_mask": 1,
    }


def test_bad_images_to_train_on_are_counted_and_need_no_mask(root):
    for i in range(3):
        photo(root / f"train/scratch/{i}.png", 200 + i)
    assert count_images(load_catalog(root))["train_anomalous"] == 3
    assert check_catalog(load_catalog(root)) == []


def test_unreadable_images_and_masks_are_each_an_error(root):
    for name in ("train/good/003.png", "ground_truth/cut/000_mask.png"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])
    (root / "train/good/001.png").write_bytes(b"")
    (root / "test/good/a.jpg").write_text("no picture")
    assert found(root, "error") == [
        ("ground_truth/cut/000_mask.png", "is not whole (truncated, or parts of its pixels are missing)"),
        ("test/good/a.jpg", "is not a PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, JPEG 2000 or AVIF image"),
        ("train/good/001.png", "is empty (0 bytes)"),
        ("train/good/003.png", "is not whole (truncated, or parts of its pixels are missing)"),
    ]


def test_a_defect_without_a_mask_is_an_error_where_there_are_masks(root):
    photo(root / "test/hole/000.png", 102)
    photo(root / "train/hole/000.png", 103)  # image labels are enough to train on
    assert found(root, "error") == [("test/hole/000.png", "has a defect but no mask")]


def test_no_masks_at_all_is_one_warning(root):
    shutil.rmtree(root / "ground_truth")
    assert found(root, "error") == []
    assert found(root, "warning") == [
        ("ground_truth", "no masks for 1 anomalous test images: pixel metrics cannot be computed")
    ]


def test_a_mask_of_another_size_is_an_error(root):
    mask(root / "ground_truth/cut/000_mask.png", size=(32, 24))
    assert found(root, "error") == [("ground_truth/cut/000_mask.png", "mask is 24 x 32 px, its image 32 x 24 px")]


def test_an_orphan_mask_is_an_error(root):
    mask(root / "ground_truth/cut/001_mask.png")
    assert found(root, "error") == [("ground_truth/cut/001_mask.png", "mask without an image")]


def test_an_empty_train_good_is_an_error(root):
    shutil.rmtree(root / "train")
    (root / "train/good").mkdir(parents=True)
    assert found(root, "error") == [("train/good", "no normal training images")]


def test_a_test_set_alone_is_a_warning(root):
    shutil.rmtree(root / "train")
    assert found(root, "error") == []
    assert found(root, "warning") == [("train/good", "no training images: this set can be evaluated, not trained on")]


def test_missing_files_of_a_manifest_are_errors_once(root):
    (root / "list.csv").write_text(
        "image,label,mask,split\ntrain/good/000.png,0,,train\nx.png,0,,train\n"
        "test/cut/000.png,1,y.png,test\ntest/good/ö ä.png,1,,test\n",
        encoding="utf-8",
    )
    assert found(root / "list.csv", "error") == [
        ("test/good/ö ä.png", "has a defect but no mask"),
        ("x.png", "is listed but does not exist"),
        ("y.png", "is listed but does not exist"),
    ]


def test_the_same_content_in_two_splits_is_a_warning_in_one_a_note(root):
    shutil.copy(root / "train/good/000.png", root / "test/good/again.png")
    shutil.copy(root / "train/good/000.png", root / "train/good/zzz.png")
    assert found(root, "warning") == [
        (".", "the 21 normal training images are of 20 different photographs: copies count once"),
        ("test/good/again.png", "split test: same content as train/good/000.png in split train"),
    ]
    assert found(root, "note") == [
        ("train/good/zzz.png", "split train: same content as train/good/000.png in split train")
    ]


def test_the_same_content_labelled_good_and_bad_to_train_on_is_an_error(root):
    (root / "train/scratch").mkdir()
    shutil.copy(root / "train/good/000.png", root / "train/scratch/0.png")
    problem = "split train: same content as train/good/000.png in split train, and one is labelled good, the other bad"
    assert found(root, "error") == [("train/scratch/0.png", problem)]


def test_an_empty_mask_on_a_defect_is_a_warning(root):
    mask(root / "ground_truth/cut/000_mask.png", value=0)
    assert found(root, "error") == []
    assert found(root, "warning") == [("test/cut/000.png", "has a defect, but its mask is empty")]


def test_of_several_masks_one_may_be_empty(root):
    (root / "ground_truth/cut/000_mask.png").unlink()
    mask(root / "ground_truth/cut/000/0.png", value=0)
    mask(root / "ground_truth/cut/000/1.png", value=236)
    assert check_catalog(load_catalog(root)) == []


def test_a_mask_that_marks_a_good_image_is_a_warning(root):
    mask(root / "ground_truth/good/ö ä.png")
    assert found(root, "warning") == [("test/good/ö ä.png", "is good, but its mask marks a defect")]
    mask(root / "ground_truth/good/ö ä.png", value=0)
    assert check_catalog(load_catalog(root)) == []


def test_what_is_skipped_is_a_warning(root):
    shutil.copy(root / "train/good/000.png", root / "train/good/000 (copy).png")
    photo(root / "test/good/img/1.png", 104)
    assert found(root, "warning") == [
        ("test/good/img/1.png", "lies where no images are read and is left out"),
        ("train/good/000 (copy).png", "is named as a copy and left out"),
    ]


@pytest.mark.parametrize("name", ["000.tiff", "000.webp"])
def test_further_pages_of_an_image_are_a_warning(root, name):
    pages = [Image.fromarray(np.full((24, 32, 3), grey, np.uint8)) for grey in (0, 99, 200)]
    path = root / "train/good" / name
    pages[0].save(path, save_all=True, append_images=pages[1:])
    ((found_path, problem),) = found(root, "warning")
    assert found_path == f"train/good/{name}"
    assert problem == "has 3 pages or frames, of which only the first is used"
    pages[0].save(path)
    assert not found(root, "warning")


def test_few_training_images_and_no_test_images_are_warnings(root):
    shutil.rmtree(root / "test")
    shutil.rmtree(root / "ground_truth")
    (root / "train/good/000.png").unlink()
    assert found(root, "warning") == [
        ("test", "no test images: nothing can be measured"),
        ("train/good", "only 19 normal training images, fewer than 20"),
    ]


def test_mixed_sizes_and_modes_are_notes(root):
    photo(root / "train/good/020.png", 20, size=(40, 50))
    photo(root / "train/good/021.png", 21, mode="L")
    assert found(root, "warning") == []
    assert found(root, "note") == [
        (".", "2 image sizes: 32 x 24 px (23), 50 x 40 px (1)"),
        (".", "2 pixel modes: RGB (23), L (1)"),
    ]


def test_files_that_are_not_read_are_warnings_that_say_why(root):
    (root / "train/good/a.heic").write_bytes(b"x")
    photo(root / "extra/000.png", 300)
    assert found(root, "warning") == [
        ("extra/000.png", "lies where no images are read and is left out"),
        ("train/good/a.heic", "is a HEIC photograph, which is not read"),
    ]


def test_errors_come_first_then_warnings_then_notes_each_by_path(root):
    (root / "train/good/005.png").write_bytes(b"")
    (root / "train/good/002.png").write_bytes(b"")
    photo(root / "test/good/grey.png", 104, mode="L")
    shutil.copy(root / "train/good/000.png", root / "test/good/again.png")
    catalog = load_catalog(root)
    findings = check_catalog(catalog)
    assert [(f.severity, f.path) for f in findings] == [
        ("error", "train/good/002.png"),
        ("error", "train/good/005.png"),
        ("warning", "test/good/again.png"),
        ("note", "."),
    ]
    assert findings == check_catalog(catalog)
    assert all(isinstance(f, Finding) and f.remedy and "\n" not in f.problem for f in findings)


def test_copies_of_one_photograph_are_an_error_and_of_some_a_warning(root):
    content = (root / "train/good/000.png").read_bytes()
    good = sorted((root / "train/good").iterdir())
    good[1].write_bytes(content)
    (problem,) = [problem for _, problem in found(root, "warning") if "different photographs" in problem]
    assert problem.startswith(f"the {len(good)} normal training images are of {len(good) - 1} different")
    for path in good:
        path.write_bytes(content)
    assert [problem for _, problem in found(root, "error") if "are of 1 different photographs" in problem]
