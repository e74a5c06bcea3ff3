import pytest

from cavga.data.catalog import load_catalog, recognise_layout
from cavga.data.check import check_catalog, count_images
from cavga.data.readers.published import CIFAR10_CLASSES
from cavga.errors import DataError, UsageError
from tests.data.made_sets import classes, noise, put


def test_one_class_is_normal_the_whole_test_split_is_the_test(tmp_path):
    catalog = load_catalog(classes(tmp_path, ("bird", "cat", "dog")), normal_class="cat")
    assert (catalog.layout, catalog.category, catalog.expects_masks) == ("classes", "cat", False)
    assert [(r.relative_path, r.split, r.label, r.defect_type) for r in catalog.records] == [
        *((f"train/cat/{i:05d}.png", "train", 0, None) for i in range(3)),
        *((f"test/bird/{i:05d}.png", "test", 1, "bird") for i in range(2)),
        *((f"test/cat/{i:05d}.png", "test", 0, None) for i in range(2)),
        *((f"test/dog/{i:05d}.png", "test", 1, "dog") for i in range(2)),
    ]
    assert {r.category for r in catalog.records} == {"cat"}


@pytest.mark.parametrize(("given", "expected"), [("2", "dog"), ("DOG", "dog"), ("0", "bird"), ("big cat", "big-cat")])
def test_a_class_is_named_or_numbered(tmp_path, given, expected):
    classes(tmp_path, ("bird", "big-cat", "dog") if expected == "big-cat" else ("bird", "cat", "dog"))
    assert load_catalog(tmp_path, normal_class=given).category == expected
    assert load_catalog(tmp_path, category=given).category == expected  # a class is the category of its task


def test_numbers_as_names_are_names_and_sorted_as_numbers(tmp_path):
    classes(tmp_path, ("1", "2", "10"))
    assert load_catalog(tmp_path, normal_class="2").category == "2"
    with pytest.raises(UsageError, match=r"--normal-class\): 1, 2, 10 \(or its number, 0 to 2\)"):
        load_catalog(tmp_path)
    assert load_catalog(tmp_path, normal_class="0").category == "1"


def test_several_classes_need_a_choice_and_only_they(tmp_path):
    root = classes(tmp_path / "set", ("bird", "cat"))
    with pytest.raises(UsageError, match=r"choose the normal one with normal_class \(--normal-class\): bird, cat"):
        load_catalog(root)
    with pytest.raises(UsageError, match="unknown class 'cats': expected one of cat, bird"):
        load_catalog(root, normal_class="cats")
    put(tmp_path / "screw/train/good/0.png", noise(0, 8, 8))
    with pytest.raises(UsageError, match=r"--normal-class\) cat: .*screw has layout mvtec, not several classes"):
        load_catalog(tmp_path / "screw", normal_class="cat")
    with pytest.raises(DataError, match="expected train/<class> and test/<class>"):
        load_catalog(tmp_path, layout="classes", normal_class="cat")


def test_good_folders_and_masks_mean_mvtec_unless_a_class_is_asked_for(tmp_path):
    classes(tmp_path / "a", ("normal", "pneumonia"))
    assert recognise_layout(tmp_path / "a") == "mvtec"
    catalog = load_catalog(tmp_path / "a", normal_class="pneumonia")
    assert (catalog.layout, count_images(catalog)["test_anomalous"]) == ("classes", 2)
    classes(tmp_path / "b", ("cut", "hole"))
    assert recognise_layout(tmp_path / "b") == "classes"
    (tmp_path / "b/ground_truth").mkdir()
    assert recognise_layout(tmp_path / "b") == "mvtec"


def test_copies_and_deeper_images_are_skipped(tmp_path):
    classes(tmp_path, ("bird", "cat"))
    put(tmp_path / "train/cat/00000 (copy).png", noise(0, 8, 8))
    put(tmp_path / "test/bird/more/0.png", noise(1, 8, 8))
    catalog = load_catalog(tmp_path, normal_class="cat")
    assert [path.relative_to(tmp_path).as_posix() for path in catalog.skipped] == [
        "train/cat/00000 (copy).png",
        "test/bird/more/0.png",
    ]


def test_a_known_set_that_is_not_complete_is_a_note(tmp_path):
    classes(tmp_path, CIFAR10_CLASSES)
    findings = check_catalog(load_catalog(tmp_path, normal_class="cat"))
    assert [f.problem for f in findings if f.severity == "note"] == [
        "CIFAR-10 with normal class cat has 1000 normal test images, here 2",
        "CIFAR-10 with normal class cat has 5000 normal training images, here 3",
        "CIFAR-10 with normal class cat has 9000 anomalous test images, here 18",
    ]
    assert not [f for f in findings if "mask" in f.problem]  # nobody expects masks of a class


def test_a_class_without_training_images_is_named(tmp_path):
    classes(tmp_path, ("bird", "cat", "dog"))
    for path in (tmp_path / "train/cat").iterdir():
        path.unlink()
    findings = check_catalog(load_catalog(tmp_path, normal_class="cat"))
    assert [f.path for f in findings if f.problem.startswith("no training images")] == ["."]
