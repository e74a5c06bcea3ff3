import hashlib
from pathlib import Path

import pytest

from cavga.data.catalog import load_catalog
from cavga.data.manifest import read_manifest_hashes, sha256_of, write_manifest
from cavga.data.records import ImageRecord, hold_out
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
        "photo.png": r"photo.png: expected a folder or a manifest .csv, this is another file",
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


def manifest(folder, text, *, encoding="utf-8", name="list.csv"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.fixture
def photos(tmp_path):
    return touch(tmp_path, "a.png", "b.png", "sub/ö ä.png", "masks/b.png", "masks/b2.png")


def test_manifest_columns_defaults_and_masks(photos):
    path = manifest(
        photos,
        "image,label,mask,split,category,group,defect_type\n"
        "a.png,,,,,,\n"
        "b.png,1,masks/b.png; masks/b2.png,test,screw,clip 1,cut\n"
        "sub/ö ä.png,,,test,,,\n",
    )
    catalog = load_catalog(path)
    assert (catalog.layout, catalog.category, catalog.root) == ("manifest", "screw", photos)
    assert rows(catalog) == {
        "a.png": ("train", 0, None),
        "b.png": ("test", 1, "cut"),
        "sub/ö ä.png": ("test", None, None),
    }
    assert masks(catalog) == {"b.png": ["masks/b.png", "masks/b2.png"]}
    assert catalog.records[1].group == "clip 1"
    assert catalog.expects_masks
    assert catalog.missing == ()


def test_manifest_of_images_alone(photos):
    catalog = load_catalog(manifest(photos, "image\na.png\n\nb.png\n"))
    assert rows(catalog) == {"a.png": ("train", 0, None), "b.png": ("train", 0, None)}
    assert not catalog.expects_masks


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_manifest_of_any_editor(photos, encoding, end):
    text = "Image, Label ,split,mask\nsub\\ö ä.png,1.0,test,masks\\b.png\n,,,\na.png,0,train,\n"
    catalog = load_catalog(manifest(photos, text.replace("\n", end), encoding=encoding))
    assert rows(catalog) == {"sub/ö ä.png": ("test", 1, None), "a.png": ("train", 0, None)}
    assert masks(catalog) == {"sub/ö ä.png": ["masks/b.png"]}


def test_manifest_paths_outside_its_folder_stay_absolute(photos):
    (photos / "lists").mkdir()
    path = manifest(photos / "lists", f"image\n../a.png\n{photos}/b.png\n")
    assert [r.relative_path for r in load_catalog(path).records] == [f"{photos}/a.png", f"{photos}/b.png"]
    path = manifest(photos, f"image\n{photos}/b.png\n")
    assert [r.relative_path for r in load_catalog(path).records] == ["b.png"]


def test_bad_images_may_be_in_training(photos):
    assert rows(load_catalog(manifest(photos, "image,label\na.png,1\n"))) == {"a.png": ("train", 1, None)}


def test_files_that_do_not_exist_are_collected(photos):
    text = "image,label,mask,split\na.png,0,,train\nc.png,0,,train\nb.png,1,masks/x.png,test\n"
    catalog = load_catalog(manifest(photos, text))
    assert list(rows(catalog)) == ["a.png", "c.png", "b.png"]
    assert names(catalog, catalog.missing) == ["c.png", "masks/x.png"]
    with pytest.raises(DataError, match=r"none of the images it lists exists, the first is .*x.png; paths are"):
        load_catalog(manifest(photos, "image\nx.png\n"))


def test_manifest_of_several_categories(photos):
    text = "image,category\na.png,screw\nb.png,bottle\nsub/x.png,bottle\nsub/ö ä.png,\n"
    path = manifest(photos, text)
    with pytest.raises(UsageError, match="several categories, choose one: bottle, screw"):
        load_catalog(path)
    with pytest.raises(UsageError, match="unknown category 'bottel': expected one of bottle, screw"):
        load_catalog(path, category="bottel")
    catalog = load_catalog(path, category="bottle")
    assert list(rows(catalog)) == ["b.png", "sub/x.png"]
    assert names(catalog, catalog.missing) == ["sub/x.png"]
    catalog = load_catalog(path, category="screw")
    assert list(rows(catalog)) == ["a.png"]
    assert catalog.missing == ()  # what another category lacks is no concern here
    with pytest.raises(UsageError, match=r"unknown category 'screw': .* names none"):
        load_catalog(manifest(photos, "image\na.png\n"), category="screw")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.png,0\nb.png,2\n", r"list.csv, line 3: label '2'; expected 0 \(normal\), 1"),
        ("image,label\na.png,good\n", r"line 2: label 'good'"),
        (
            "image,split\na.png,val\n",
            r"line 2: unknown split 'val'; expected one of train, calibration, test",
        ),
        ("image,label,split\na.png,1,calibration\n", r"line 2: label 1 in split calibration"),
        ("image,labels\na.png,0\n", r"line 1: unknown column 'labels'; expected image,label,mask"),
        ("image;label\na.png;0\n", r"line 1: unknown column 'image;label'.*separated by commas"),
        ("image,image\na.png,b.png\n", r"line 1: column 'image' is there twice"),
        ("a.png\nb.png\n", r"line 1: unknown column 'a.png'"),
        ("label\n0\n", r"line 1: no column 'image'"),
        ("", r"line 1: no column 'image'"),
        ("image\n", r"list.csv: lists no images"),
        ("image,label\n,1\n", r"line 2: no image; give its path"),
        (
            "image,label\na,b.png,1\n",
            r"line 2: 3 cells, but 2 columns; put a path that has a comma in quotes",
        ),
        ('image\n"a.png"b\n', r"line 2: not valid CSV"),
    ],
)
def test_wrong_manifests_are_named_with_their_line(photos, text, message):
    with pytest.raises(DataError, match=message) as caught:
        load_catalog(manifest(photos, text))
    assert "\n" not in str(caught.value)


def test_a_manifest_in_another_encoding_is_named(photos):
    with pytest.raises(DataError, match="not UTF-8 text; save it as 'CSV UTF-8'"):
        load_catalog(manifest(photos, "image\nö.png\n", encoding="cp1252"))


def test_a_comma_in_a_path_is_quoted(tmp_path):
    touch(tmp_path, "a, b.png")
    assert list(rows(load_catalog(manifest(tmp_path, 'image\n"a, b.png"\n')))) == ["a, b.png"]


# --- what a run writes ---


def test_written_manifests_come_back(tmp_path):
    root = touch(
        tmp_path / "Prüfling 1",
        *("train/good/a, b.png", "train/good/ö.png", "validation/good/0.png", "test/cut/0.png"),
        *("ground_truth/cut/0/0.png", "ground_truth/cut/0/1.png"),
    )
    catalog = load_catalog(root)
    hashes = {r.relative_path: sha256_of(r.path) for r in catalog.records}
    write_manifest(root / "manifest.csv", catalog.records, root, hashes)
    content = (root / "manifest.csv").read_bytes()
    assert content.startswith(b"image,label,mask,split,category,group,defect_type,sha256\n")
    assert b"\r" not in content
    assert load_catalog(root / "manifest.csv").records == catalog.records
    assert read_manifest_hashes(root / "manifest.csv") == {hashes[r.relative_path]: r.split for r in catalog.records}


def test_written_manifests_keep_unknown_labels_and_paths_elsewhere(tmp_path):
    record = ImageRecord(tmp_path / "a.png", "/elsewhere/a.png", None, "test", group="clip")
    write_manifest(tmp_path / "run/manifest.csv", [record], tmp_path / "data", {"/elsewhere/a.png": "ab"})
    text = (tmp_path / "run/manifest.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1] == f"{tmp_path.as_posix()}/a.png,,,test,,clip,,ab"


def test_hashes_of_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"manifest.csv: cannot be read: No such file"):
        read_manifest_hashes(tmp_path / "manifest.csv")
    assert read_manifest_hashes(manifest(tmp_path, "image\na.png\n")) == {}  # a user's, without hashes


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(DataError, match="b: cannot be read: No such file or directory"):
        sha256_of(tmp_path / "b")


# --- holding out ---


def records(*groups):
    return [ImageRecord(Path(f"/{i}.png"), f"{i}.png", 0, "train", group=g) for i, g in enumerate(groups)]


def test_hold_out_takes_the_fraction_keeps_the_order_and_repeats():
    everything = records(*[None] * 50)
    train, calibration = hold_out(everything, fraction=0.2, seed=3)
    assert (len(train), len(calibration)) == (40, 10)
    assert sorted([*train, *calibration], key=everything.index) == everything
    assert list(train) == sorted(train, key=everything.index)
    assert list(calibration) == sorted(calibration, key=everything.index)
    assert hold_out(everything, fraction=0.2, seed=3) == (train, calibration)
    assert hold_out(everything, fraction=0.2, seed=4) != (train, calibration)


@pytest.mark.parametrize("seed", range(20))
def test_hold_out_never_cuts_a_group(seed):
    everything = records(*[f"clip {i // 7}" for i in range(35)], *[None] * 5)
    train, calibration = hold_out(everything, fraction=0.25, seed=seed)
    assert not {r.group for r in train if r.group} & {r.group for r in calibration if r.group}
    assert 1 <= len(calibration) <= 10
    assert len(train) + len(calibration) == 40


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("groups", [(None, None), ("a", "a", "b"), ("a", None, None)])
def test_hold_out_leaves_something_on_each_side(fraction, groups):
    train, calibration = hold_out(records(*groups), fraction=fraction, seed=0)
    assert train
    assert calibration


@pytest.mark.parametrize("groups", [(), (None,), ("a", "a", "a")])
def test_hold_out_of_one_unit_trains_on_it(groups):
    everything = records(*groups)
    assert hold_out(everything, fraction=0.5, seed=0) == (tuple(everything), ())


def test_a_group_named_like_a_number_is_not_an_image():
    train, calibration = hold_out(records("1", None, "1"), fraction=0.4, seed=0)
    assert {r.relative_path for r in calibration} in ({"1.png"}, {"0.png", "2.png"})
    assert len(train) + len(calibration) == 3


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_hold_out_refuses_impossible_fractions(fraction):
    with pytest.raises(UsageError, match="expected a number between 0 and 1"):
        hold_out(records(None, None), fraction=fraction, seed=0)


def test_masks_of_training_images_ask_for_none_in_the_test(tmp_path):
    for name in ("a.png", "b.png", "c.png", "m.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "m.csv").write_text(
        "image,label,mask,split\na.png,0,,train\nb.png,1,m.png,train\nc.png,1,,test\n", encoding="utf-8"
    )
    assert not load_catalog(tmp_path / "m.csv").expects_masks
