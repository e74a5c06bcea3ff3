from pathlib import Path

import pytest

from cavga.data.catalog import load_catalog
from cavga.errors import DataError, UsageError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def rows(catalog):
    """relative path -> (split, label, defect type)."""
    return {r.relative_path: (r.split, r.label, r.defect_type) for r in catalog.records}


def masks(catalog):
    """relative path -> its masks, relative to the root."""
    return {
        r.relative_path: [path.relative_to(catalog.root).as_posix() for path in r.mask_paths]
        for r in catalog.records
        if r.mask_paths
    }


def names(catalog, paths):
    return [path.relative_to(catalog.root).as_posix() for path in paths]


# --- MVTec-style folders ---


# --- several categories ---


def test_the_only_category_is_taken(tmp_path):
    catalog = load_catalog(touch(tmp_path, "screw/train/good/0.png", "docs/readme.txt"))
    assert (catalog.category, catalog.root) == ("screw", tmp_path / "screw")
    assert list(rows(catalog)) == ["train/good/0.png"]


def test_several_categories_need_a_choice(tmp_path):
    touch(tmp_path, "screw/train/good/0.png", "bottle/train/ok/1.png")
    with pytest.raises(UsageError, match=r"holds several categories, choose one: bottle, screw") as caught:
        load_catalog(tmp_path)
    assert caught.value.exit_code == 2
    assert load_catalog(tmp_path, category="bottle").category == "bottle"
    with pytest.raises(UsageError, match="unknown category 'screws': expected one of screw, bottle"):
        load_catalog(tmp_path, category="screws")


def test_a_category_folder_knows_its_own_name_only(tmp_path):
    root = touch(tmp_path / "screw", "train/good/0.png")
    assert load_catalog(root, category="screw").category == "screw"
    with pytest.raises(UsageError, match="unknown category 'bottle': expected one of screw"):
        load_catalog(root, category="bottle")


# --- folders of good images ---


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    touch(tmp_path / "photos", "a.png")
    monkeypatch.chdir(tmp_path)
    for given in ("photos", "photos/../photos", "./photos"):
        catalog = load_catalog(Path(given))
        assert catalog.root == tmp_path / "photos"
        assert catalog.records[0].path == tmp_path / "photos/a.png"


# --- what is given is wrong ---


def test_missing_empty_or_other_data_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "texts/a.txt", "photo.png")
    (tmp_path / "screw/train/good").mkdir(parents=True)
    for name, message in {
        "nowhere": r"nowhere: does not exist; check the path",
        "empty": r"empty: no images in it; expected good ones",
        "texts": r"texts: no images in it",
        "photo.png": r"photo.png: expected a folder, a manifest .csv or a COCO .json, this is another file",
        "screw": r"screw: no images in train/good or test",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            load_catalog(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_layout_can_be_forced(tmp_path):
    root = touch(tmp_path, "train/good/0.png", "test/cut/0.png")
    assert len(load_catalog(root, layout="folder").records) == 2
    (tmp_path / "list.txt").write_text("image\ntrain/good/0.png\n")
    assert load_catalog(tmp_path / "list.txt", layout="manifest").layout == "manifest"


def test_layouts_that_cannot_be_are_refused(tmp_path):
    root = touch(tmp_path / "photos", "a.png", "b.csv")
    with pytest.raises(UsageError, match="unknown layout 'mvtek': expected one of mvtec"):
        load_catalog(root, layout="mvtek")
    with pytest.raises(UsageError, match=r"'manifest' needs a \.csv file, this is a folder"):
        load_catalog(root, layout="manifest")
    with pytest.raises(UsageError, match="'mvtec' needs a folder, this is a file"):
        load_catalog(root / "b.csv", layout="mvtec")
    with pytest.raises(DataError, match="expected train/good in it"):
        load_catalog(root, layout="mvtec")
    with pytest.raises(UsageError, match=r"unknown category 'a': .* holds no categories"):
        load_catalog(root, category="a")


def test_unknown_split(tmp_path):
    with pytest.raises(UsageError, match="unknown split 'tset': expected one of test"):
        load_catalog(touch(tmp_path, "a.png")).split("tset")


# --- manifests ---


# --- what a run writes ---


# --- holding out ---
