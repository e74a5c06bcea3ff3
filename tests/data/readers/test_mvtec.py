import pytest

from cavga.data.catalog import load_catalog
from tests.data.test_catalog import masks, names, rows, touch


def test_mvtec_splits_labels_and_defect_types(tmp_path):
    root = touch(
        tmp_path / "Prüfling 1",
        *("train/good/000.png", "train/good/ö ä.JPG", "train/scratch/000.png"),
        *("validation/good/000.png", "calibration/good/001.bmp"),
        *("test/good/000.png", "test/cut/000.png", "test/cut/001.tif"),
        *("readme.txt", "train/good/Thumbs.db", "train/good/.hidden.png", "test/.cache/000.png"),
    )
    catalog = load_catalog(root)
    assert (catalog.layout, catalog.category, catalog.root) == ("mvtec", "Prüfling 1", root)
    assert rows(catalog) == {
        "train/good/000.png": ("train", 0, None),
        "train/good/ö ä.JPG": ("train", 0, None),
        "train/scratch/000.png": ("train", 1, "scratch"),
        "validation/good/000.png": ("calibration", 0, None),
        "calibration/good/001.bmp": ("calibration", 0, None),
        "test/good/000.png": ("test", 0, None),
        "test/cut/000.png": ("test", 1, "cut"),
        "test/cut/001.tif": ("test", 1, "cut"),
    }
    assert catalog.skipped == ()
    assert not catalog.expects_masks
    assert all(r.path.is_absolute() and r.path.is_file() for r in catalog.records)
    assert {r.category for r in catalog.records} == {"Prüfling 1"}
    assert [r.relative_path for r in catalog.split("train")] == sorted(
        name for name, row in rows(catalog).items() if row[0] == "train"
    )


@pytest.mark.parametrize("good", ["good", "ok", "normal", "Normal", "GOOD"])
def test_every_name_for_good_is_label_0(tmp_path, good):
    catalog = load_catalog(touch(tmp_path, f"train/{good}/0.png", f"test/{good}/1.png", "test/ko/2.png"))
    assert rows(catalog) == {
        f"train/{good}/0.png": ("train", 0, None),
        f"test/{good}/1.png": ("test", 0, None),
        "test/ko/2.png": ("test", 1, "ko"),
    }


def test_masks_are_paired_by_name_in_every_spelling(tmp_path):
    root = touch(
        tmp_path,
        *("train/good/0.png", "test/good/000.png"),
        *(
            "test/cut/000.jpg",
            "test/cut/001.png",
            "test/cut/010.png",
            "test/cut/002.png",
            "test/hole/000.png",
        ),
        "ground_truth/cut/000_mask.png",  # MVTec; another suffix than its image
        "ground_truth/cut/001.bmp",  # BTAD, VisA
        *("ground_truth/cut/010/000.png", "ground_truth/cut/010/001.png"),  # LOCO
        "ground_truth/hole/000_mask.tiff",
    )
    catalog = load_catalog(root)
    assert masks(catalog) == {
        "test/cut/000.jpg": ["ground_truth/cut/000_mask.png"],
        "test/cut/001.png": ["ground_truth/cut/001.bmp"],
        "test/cut/010.png": ["ground_truth/cut/010/000.png", "ground_truth/cut/010/001.png"],
        "test/hole/000.png": ["ground_truth/hole/000_mask.tiff"],
    }
    assert catalog.expects_masks
    assert catalog.orphan_masks == ()


def test_masks_are_never_paired_by_order_or_by_part_of_a_name(tmp_path):
    root = touch(
        tmp_path,
        *("train/good/0.png", "test/cut/0.png", "test/cut/5.png"),
        *("ground_truth/cut/10_mask.png", "ground_truth/cut/6.png", "ground_truth/hole/0_mask.png"),
        *("ground_truth/0_mask.png", "ground_truth/cut/7/0.png", "ground_truth/cut/0/deep/0.png"),
    )
    catalog = load_catalog(root)
    assert masks(catalog) == {}
    assert len(catalog.orphan_masks) == 6
    assert "ground_truth/cut/10_mask.png" in names(catalog, catalog.orphan_masks)


def test_the_second_mask_of_an_image_is_an_orphan(tmp_path):
    root = touch(
        tmp_path,
        "train/good/0.png",
        "test/cut/0.png",
        "ground_truth/cut/0_mask.png",
        "ground_truth/cut/0.png",
    )
    catalog = load_catalog(root)
    assert masks(catalog) == {"test/cut/0.png": ["ground_truth/cut/0_mask.png"]}
    assert names(catalog, catalog.orphan_masks) == ["ground_truth/cut/0.png"]


def test_an_image_of_training_takes_no_mask_from_a_test_image(tmp_path):
    root = touch(tmp_path, "train/good/0.png", "train/cut/0.png", "test/cut/0.png", "ground_truth/cut/0.png")
    assert list(masks(load_catalog(root))) == ["test/cut/0.png"]


def test_copies_and_images_in_odd_places_are_skipped_and_listed(tmp_path):
    root = touch(
        tmp_path,
        *("train/good/0.png", "train/good/0 (copy).png", "train/good/0 - Copy.png", "train/good/img/1.png"),
        *("train/loose.png", "validation/bad/0.png", "test/loose.png"),
    )
    catalog = load_catalog(root)
    assert list(rows(catalog)) == ["train/good/0.png"]
    assert names(catalog, catalog.skipped) == [
        *("train/good/0 (copy).png", "train/good/0 - Copy.png", "train/good/img/1.png", "train/loose.png"),
        *("validation/bad/0.png", "test/loose.png"),
    ]


def test_a_test_set_alone_and_an_empty_train_good_are_mvtec(tmp_path):
    assert load_catalog(touch(tmp_path / "a", "test/good/0.png")).layout == "mvtec"
    (tmp_path / "b/train/good").mkdir(parents=True)
    catalog = load_catalog(touch(tmp_path / "b", "test/cut/0.png"))
    assert (catalog.layout, len(catalog.records)) == ("mvtec", 1)


def test_train_without_good_is_mvtec_too_so_that_defects_are_not_taken_as_good(tmp_path):
    catalog = load_catalog(touch(tmp_path, "train/cat/0.png", "test/dog/0.png"))
    assert [r.label for r in catalog.records] == [1, 1]


def test_any_other_folder_is_good_images_throughout(tmp_path):
    root = touch(tmp_path, "b.png", "Montag 1/ä.jpg", "Montag 1/tief/c.webp", "notes.txt", "b (copy).png")
    catalog = load_catalog(root)
    assert (catalog.layout, catalog.category) == ("folder", None)
    assert rows(catalog) == {
        "Montag 1/tief/c.webp": ("train", 0, None),
        "Montag 1/ä.jpg": ("train", 0, None),
        "b.png": ("train", 0, None),
    }
    assert names(catalog, catalog.skipped) == ["b (copy).png"]


def test_masks_of_training_images_ask_for_none_in_the_test(tmp_path):
    for name in ("a.png", "b.png", "c.png", "m.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text(
        "image,label,mask,split\na.png,0,,train\nb.png,1,m.png,train\nc.png,1,,test\n", encoding="utf-8"
    )
    assert not load_catalog(tmp_path / "m.csv").expects_masks


def test_splits_types_and_masks_are_read_in_any_case(tmp_path):
    root = touch(tmp_path, "Train/Good/0.png", "VAL/good/1.png", "Test/Good/2.png", "Test/Scratch/3.png")
    catalog = load_catalog(touch(root, "Ground_Truth/scratch/3_mask.png"))
    assert rows(catalog) == {
        "Train/Good/0.png": ("train", 0, None),
        "VAL/good/1.png": ("calibration", 0, None),
        "Test/Good/2.png": ("test", 0, None),
        "Test/Scratch/3.png": ("test", 1, "Scratch"),
    }
    assert masks(catalog) == {"Test/Scratch/3.png": ["Ground_Truth/scratch/3_mask.png"]}


def test_masks_in_a_split_and_images_beside_the_splits_are_passed_over_by_name(tmp_path):
    root = touch(tmp_path, "train/good/0.png", "train/masks/0.png", "test/cut/1.png", "spare/2.png")
    catalog = load_catalog(root)
    assert list(rows(catalog)) == ["train/good/0.png", "test/cut/1.png"]
    assert names(catalog, catalog.skipped) == ["train/masks/0.png", "spare/2.png"]
