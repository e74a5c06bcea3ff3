import numpy as np
import pytest
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog
from cavga.data.readers.lag import NUM_TEST, NUM_TRAIN
from cavga.errors import UsageError
from cavga.images.masks import read_mask
from tests.data.made_sets import lag


def names(catalog, split, label):
    return [r.path.stem for r in catalog.split(split) if r.label == label]


def found(catalog, severity):
    return [(f.path, f.problem) for f in check_catalog(catalog) if f.severity == severity]


def test_the_split_is_by_name_and_two_thirds_of_the_normal_images_are_for_training(tmp_path):
    catalog = load_catalog(lag(tmp_path / "LAG_database_part_1"))
    assert (catalog.layout, catalog.category) == ("lag", None)
    assert names(catalog, "train", 0) == ["0001", "0002", "0003", "0004"]
    assert names(catalog, "test", 0) == ["0005", "0006"]
    assert names(catalog, "test", 1) == ["0007", "0008", "0009"]
    assert found(catalog, "error") == []
    assert found(catalog, "warning") == [(".", "only 4 normal training images, fewer than 20")]
    above = load_catalog(tmp_path)
    assert [r.path for r in above.records] == [r.path for r in catalog.records]


def test_of_the_whole_part_one_the_split_is_medianomalys(tmp_path, monkeypatch):
    monkeypatch.setattr("cavga.data.readers.lag._masks", lambda *_arguments: {})
    for number in range(1, 3143 + 1711 + 1):
        folder = tmp_path / ("non_glaucoma" if number <= 3143 else "suspicious_glaucoma") / "image"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.jpg").touch()
    catalog = load_catalog(tmp_path)
    assert names(catalog, "train", 0) == [f"{k:04d}" for k in range(1, NUM_TRAIN + 1)]
    assert names(catalog, "test", 0) == [f"{k:04d}" for k in range(NUM_TRAIN + 1, NUM_TRAIN + NUM_TEST + 1)]
    assert names(catalog, "test", 1) == [f"{k:04d}" for k in range(3144, 3144 + NUM_TEST)]
    assert [f.problem for f in catalog.remarks] == [
        "1732 images are spare in the split of MedIAnomaly and left out"  # 832 + 900
    ]


def test_masks_are_cut_from_the_soft_maps_at_the_images_size(tmp_path):
    lag(tmp_path)
    areas = {}
    for cut in (0.25, 0.5, 0.75):
        (record,) = [r for r in load_catalog(tmp_path, mask_cut=cut).records if r.path.stem == "0007"]
        mask = read_mask(record.mask_paths)
        assert mask.shape == (50, 50)
        rows, columns = np.nonzero(mask)
        assert rows.mean() == pytest.approx(50 * 50 / 112, abs=0.5)  # the peak, at the image's size
        assert columns.mean() == pytest.approx(60 * 50 / 112, abs=0.5)
        areas[cut] = mask.sum()
    # exp(-d^2 / 400) >= t: a disc of squared radius -400 ln t, in pixels of the map
    for cut, area in areas.items():
        assert area == pytest.approx(-400 * np.log(cut) * np.pi * (50 / 112) ** 2, rel=0.06)
    with pytest.raises(UsageError, match=r"mask cut must lie between 0 and 1, got 1.5"):
        load_catalog(tmp_path, mask_cut=1.5)


def test_maps_of_normal_images_are_no_masks(tmp_path):
    catalog = load_catalog(lag(tmp_path))
    assert [r.path.stem for r in catalog.records if r.mask_paths] == ["0007", "0008", "0009"]


def test_masks_are_made_again_when_maps_change(tmp_path):
    lag(tmp_path)
    first = load_catalog(tmp_path).split("test")[-1].mask_paths[0]
    assert load_catalog(tmp_path).split("test")[-1].mask_paths[0] == first
    Image.new("L", (112, 112)).save(tmp_path / "suspicious_glaucoma/attention_map/0009.jpg")
    changed = load_catalog(tmp_path)
    assert changed.split("test")[-1].mask_paths[0] != first
    path = "suspicious_glaucoma/image/0009.jpg"
    assert (path, "has a defect, but its mask is empty") in found(changed, "warning")


def test_missing_maps_labels_and_images_are_reported_on_both_sides(tmp_path):
    lag(tmp_path)
    (tmp_path / "suspicious_glaucoma/attention_map/0008.jpg").unlink()
    (tmp_path / "suspicious_glaucoma/image/0009.jpg").unlink()
    (tmp_path / "non_glaucoma/image/0002.jpg").unlink()
    (tmp_path / "non_glaucoma/label/0001.txt").unlink()
    (tmp_path / "non_glaucoma/label/0003.txt").write_text("1\n")
    catalog = load_catalog(tmp_path)
    assert found(catalog, "error") == [
        ("non_glaucoma/attention_map/0002.jpg", "mask without an image"),
        ("non_glaucoma/image/0003.jpg", "label/0003.txt does not say 0, as its folder does"),
        ("suspicious_glaucoma/attention_map/0009.jpg", "mask without an image"),
        ("suspicious_glaucoma/image/0008.jpg", "has a defect but no mask"),
    ]
    assert ("non_glaucoma/image/0001.jpg", "has no 0001.txt in label/") in found(catalog, "warning")


def test_renamed_folders_and_no_label_files(tmp_path):
    lag(tmp_path)
    (tmp_path / "suspicious_glaucoma").rename(tmp_path / "glaucoma")
    for folder in ("glaucoma", "non_glaucoma"):
        for path in (tmp_path / folder / "label").iterdir():
            path.unlink()
        (tmp_path / folder / "label").rmdir()
    catalog = load_catalog(tmp_path)
    assert names(catalog, "test", 1) == ["0007", "0008", "0009"]
    assert found(catalog, "error") == []


def test_two_copies_need_a_choice_and_there_are_no_categories(tmp_path):
    lag(tmp_path / "a")
    lag(tmp_path / "b")
    with pytest.raises(UsageError, match="several copies of LAG, give one of them"):
        load_catalog(tmp_path)
    with pytest.raises(UsageError, match="holds no categories"):
        load_catalog(tmp_path / "a", category="x")
