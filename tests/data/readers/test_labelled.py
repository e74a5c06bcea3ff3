import pytest

from cavga.data.catalog import load_catalog
from cavga.errors import DataError
from tests.data.test_catalog import masks, names, rows, touch


def numbered(folder, num=10):
    return [f"{folder}/{i:03}.png" for i in range(num)]


def test_good_and_bad_side_by_side_with_masks_are_a_labelled_set(tmp_path):
    root = touch(tmp_path, *numbered("good"), *numbered("NG/crack", 2), *numbered("NG/dent", 1))
    touch(root, "mask/crack/000_mask.png", "mask/crack/001.png", "mask/dent/000.png", "mask/dent/009.png")
    catalog = load_catalog(root)
    assert catalog.layout == "labelled"
    assert rows(catalog) == {
        **dict.fromkeys(numbered("good")[:8], ("train", 0, None)),
        **dict.fromkeys(numbered("good")[8:], ("test", 0, None)),  # to measure false alarms with
        **dict.fromkeys(numbered("NG/crack", 2), ("test", 1, "crack")),
        "NG/dent/000.png": ("test", 1, "dent"),
    }
    assert masks(catalog) == {
        "NG/crack/000.png": ["mask/crack/000_mask.png"],
        "NG/crack/001.png": ["mask/crack/001.png"],
        "NG/dent/000.png": ["mask/dent/000.png"],
    }
    assert names(catalog, catalog.orphan_masks) == ["mask/dent/009.png"]


@pytest.mark.parametrize(("good", "bad"), [("ok", "ng"), ("i.O.", "n.i.O."), ("良品", "不良品"), ("bon", "défaut")])
def test_words_of_several_languages_do(tmp_path, good, bad):
    catalog = load_catalog(touch(tmp_path, *numbered(good), *numbered(bad, 2)))
    assert {(r.label, r.relative_path.split("/")[0]) for r in catalog.records} == {(0, good), (1, bad)}
    assert {r.split for r in catalog.records if r.label == 1} == {"test"}
    assert not catalog.expects_masks


def test_masks_in_a_tree_of_their_own_are_found(tmp_path):
    root = touch(tmp_path, *numbered("Data/Images/Normal"), *numbered("Data/Images/Anomaly", 2))
    catalog = load_catalog(touch(root, *numbered("Data/Masks/Anomaly", 2)))
    assert masks(catalog) == {f"Data/Images/Anomaly/00{i}.png": [f"Data/Masks/Anomaly/00{i}.png"] for i in range(2)}


def test_several_machines_each_with_good_and_bad_images(tmp_path):
    root = touch(tmp_path, *numbered("line 1/good"), *numbered("line 2/good"), *numbered("line 2/ng", 2))
    touch(root, *numbered("line 2/good/reject", 1), *numbered("line 1/ng/masks", 1), *numbered("line 1/ng", 1))
    catalog = load_catalog(root)
    assert not any("ng/" in r.relative_path or "reject" in r.relative_path for r in catalog.split("train"))
    assert masks(catalog) == {"line 1/ng/000.png": ["line 1/ng/masks/000.png"]}


def test_a_mask_that_two_images_could_have_is_nobodys(tmp_path):
    root = touch(tmp_path, *numbered("good"), *numbered("ng/crack", 1), *numbered("ng/dent", 1), "mask/000.png")
    catalog = load_catalog(root)
    assert masks(catalog) == {}
    assert names(catalog, catalog.orphan_masks) == ["mask/000.png"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["good/0.png", "scratch/0.png"], r"not plain which images are good: scratch/ \(1 images\)"),
        (["ng/0.png", "0.png"], r"ng/ \(1 images\) are not good by name, and no folder is called good"),
        (["masks/0.png", "0.png"], r"masks/ \(1 images\) are not good by name"),
        (["defects/good/0.png", "defects/1.png"], r"defects/good/ \(1 images\)"),
        (["train/0.png", "test/0.png"], r"test/ \(1 images\), train/ \(1 images\)"),
        (["line 1/good/0.png", "line 1/ng/0.png", "line 2/0.png"], r"line 2/ \(1 images\)"),
    ],
)
def test_what_is_not_plain_is_refused_with_what_to_rename(tmp_path, files, message):
    root = touch(tmp_path, *files)
    with pytest.raises(DataError, match=message) as caught:
        load_catalog(root)
    assert "\n" not in str(caught.value)
    assert "--layout folder" in str(caught.value)
    assert len(load_catalog(root, layout="folder").records) == len(files)  # as was asked for


def test_folders_of_good_images_alone_stay_a_folder(tmp_path):
    for files in (["a/0.png", "b/1.png", "2.png"], ["good/0.png"], ["line 1/good/0.png", "line 2/good/0.png"]):
        root = touch(tmp_path / files[0].replace("/", "-"), *files)
        catalog = load_catalog(root)
        assert (catalog.layout, len(catalog.records)) == ("folder", len(files))


def test_images_beside_a_folder_of_good_ones_are_passed_over_by_name(tmp_path):
    catalog = load_catalog(touch(tmp_path, *numbered("good"), "overview.png"))
    assert len(catalog.split("train")) == 10
    assert names(catalog, catalog.skipped) == ["overview.png"]


def test_good_images_that_are_a_test_by_name_are_the_test(tmp_path):
    root = touch(tmp_path, *numbered("good/train"), *numbered("good/test", 2), *numbered("bad/test", 1))
    catalog = load_catalog(root)
    assert [r.relative_path for r in catalog.split("train")] == numbered("good/train")
    assert [r.relative_path for r in catalog.split("test")] == ["bad/test/000.png", *numbered("good/test", 2)]
    assert catalog.split("test")[0].defect_type == "test"


@pytest.mark.parametrize(
    "files",
    [
        (*numbered("good_batch"), *numbered("bad_batch", 2)),
        (*numbered("ok_front"), *numbered("def_front", 2)),
        (*numbered("line_1/OK left"), *numbered("line_1/NG left", 2)),
        (*numbered("Negative"), *numbered("Positive", 2)),
        ("kos00/Part0.jpg", "kos00/Part0_label.bmp", "kos01/Part0.jpg"),
        ("part1.png", "part2.png", "part2_mask.png"),
        ("a/1000.png", "a/1000_GT.png"),
        ("part0_ok.png", "part1_ok.png", "part2_ng.png"),
    ],
)
def test_where_names_hint_at_bad_images_or_masks_nothing_is_taken_as_good(tmp_path, files):
    root = touch(tmp_path, *files)
    with pytest.raises(DataError, match="not plain which images are good"):
        load_catalog(root)
    assert load_catalog(root, layout="folder").layout == "folder"


@pytest.mark.parametrize("names_of", [("ok_left", "ok_right"), ("bright-light", "dim-light"), ("cam1", "cam2")])
def test_names_that_hint_at_one_kind_or_at_none_are_no_reason_to_ask(tmp_path, names_of):
    root = touch(tmp_path, *(file for name in names_of for file in numbered(name, 3)))
    assert load_catalog(root).layout == "folder"


@pytest.mark.parametrize(("good", "bad"), [("clean", "dirty"), ("Uncracked", "Cracked")])
def test_more_words_for_good_and_bad(tmp_path, good, bad):
    assert load_catalog(touch(tmp_path, *numbered(good), *numbered(bad, 2))).layout == "labelled"


@pytest.mark.parametrize(("one", "other"), [("0", "1"), ("true", "false"), ("yes", "no"), ("data/0", "data/1")])
def test_folders_that_answer_a_question_nobody_knows_are_refused(tmp_path, one, other):
    root = touch(tmp_path, *numbered(one), *numbered(other, 2))
    with pytest.raises(DataError, match="not plain which images are good"):
        load_catalog(root)


def test_numbered_cameras_are_good_all_the_same(tmp_path):
    root = touch(tmp_path, *numbered("0"), *numbered("1"), *numbered("2"))
    assert load_catalog(root).layout == "folder"


@pytest.mark.parametrize(
    ("good", "bad"), [("OK", "NOK"), ("pass", "fail"), ("Good Parts", "bad_parts"), ("accepted", "rejected")]
)
def test_pairs_of_inspection_machines_are_labels(tmp_path, good, bad):
    catalog = load_catalog(touch(tmp_path, *numbered(good), *numbered(bad, 2)))
    assert [record.label for record in catalog.records].count(1) == 2
