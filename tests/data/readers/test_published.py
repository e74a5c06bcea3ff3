import pytest

from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog
from cavga.data.readers import published
from cavga.data.readers.layouts import where_to_get
from cavga.data.readers.published import official_counts
from cavga.errors import DataError
from tests.data.made_sets import idx, lag, noise, put, shanghaitech


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("MNIST/raw", "MNIST is at"),
        ("FashionMNIST", "Fashion-MNIST is at"),
        ("cifar10", "binary version"),
        ("cifar-10-batches-bin", "binary version"),
        ("LAG_database_part_1", "authors send the password"),
        ("shanghaitech", "svip-lab"),
        ("mvtec_ad/screw", "MVTec AD is at"),
    ],
)
def test_a_known_set_that_is_not_there_says_where_it_comes_from(tmp_path, name, source):
    with pytest.raises(DataError, match=rf"does not exist; .*{source}.*nothing is downloaded") as caught:
        load_catalog(tmp_path / name)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_other_missing_data_is_a_wrong_path(tmp_path):
    with pytest.raises(DataError, match="photos: does not exist; check the path"):
        load_catalog(tmp_path / "photos")


def test_an_empty_folder_of_a_known_set_says_where_it_comes_from(tmp_path):
    (tmp_path / "lag").mkdir()
    with pytest.raises(DataError, match=r"no images in it; .*AG-CNN"):
        load_catalog(tmp_path / "lag")


@pytest.mark.parametrize(("layout", "source"), [("lag", "AG-CNN"), ("shanghaitech", "svip-lab"), ("cifar10", "binary")])
def test_a_layout_that_is_asked_for_and_not_there_is_named(tmp_path, layout, source):
    put(tmp_path / "a.png", noise(0, 8, 8))
    with pytest.raises(DataError, match=f"nothing of layout '{layout}' in it; .*{source}"):
        load_catalog(tmp_path, layout=layout)


def notes(data, **choice):
    return [f.problem for f in check_catalog(load_catalog(data, **choice)) if f.severity == "note"]


def test_mvtec_ad_is_known_by_category_and_defects(tmp_path):
    put(tmp_path / "screw/train/good/000.png", noise(0, 8, 8))
    put(tmp_path / "screw/test/scratch/000.png", noise(1, 8, 8))
    assert notes(tmp_path / "screw") == []  # somebody's own screws
    (tmp_path / "screw/test/scratch").rename(tmp_path / "screw/test/thread_top")
    assert "MVTec AD screw has 320 normal training images, here 1" in notes(tmp_path / "screw")
    assert "MVTec AD screw has 23 images in test/thread_top, here 1" in notes(tmp_path / "screw")


def test_every_published_sum_is_right():
    rows = [text.split() for text in published._MVTEC_AD.values()]
    assert len(rows) == 15
    assert sum(int(row[0]) for row in rows) == 3629
    assert sum(int(row[1]) for row in rows) == 467
    assert sum(int(count) for row in rows for count in row[3::2]) == 1258
    assert [sum(column) for column in zip(*published._SHANGHAITECH.values(), strict=True)] == [330, 107, 4731, 3473]
    assert sum(published._MNIST_TRAIN) == 60_000
    assert sum(published._MNIST_TEST) == 10_000


def test_small_sets_differ_from_the_published_ones(tmp_path):
    idx(tmp_path / "MNIST/raw")
    assert "MNIST with normal class 0 has 5923 normal training images, here 4" in notes(
        tmp_path / "MNIST", normal_class="0"
    )
    lag(tmp_path / "lag")
    assert "LAG (part 1, split of MedIAnomaly) has 811 anomalous test images, here 3" in notes(tmp_path / "lag")
    shanghaitech(tmp_path / "stc")
    assert "mSTC (every 5th frame) scene 01 has 83 training clips, here 2" in notes(tmp_path / "stc", category="01")


def test_names_alike_are_another_set():
    assert where_to_get("photos/minist") == "check the path"
    assert where_to_get("lagoon") == "check the path"


def test_folders_and_manifests_are_compared_with_nothing(tmp_path):
    put(tmp_path / "a.png", noise(0, 8, 8))
    assert official_counts(load_catalog(tmp_path)) is None
