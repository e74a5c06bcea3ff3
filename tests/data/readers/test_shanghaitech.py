import sys

import numpy as np
import pytest

from cavga.data.catalog import load_catalog
from cavga.data.check import check_catalog
from cavga.errors import DataError, MissingExtraError, UsageError
from cavga.images.decode import read_image
from cavga.images.masks import read_mask
from tests.data.made_sets import avi, noise, put, shanghaitech


def found(catalog, severity):
    return [(f.path, f.problem) for f in check_catalog(catalog) if f.severity == severity]


@pytest.mark.parametrize("given", [".", "shanghaitech"])
def test_every_fifth_frame_of_each_clip(tmp_path, given):
    shanghaitech(tmp_path / "shanghaitech")
    catalog = load_catalog(tmp_path / given, category="01")
    assert (catalog.layout, catalog.category, catalog.root) == ("shanghaitech", "01", tmp_path / "shanghaitech")
    assert [(r.relative_path, r.split, r.label, r.group) for r in catalog.records] == [
        *((f"mstc/training/01_001/{i:04d}.jpg", "train", 0, "01_001") for i in (0, 5, 10)),
        *((f"mstc/training/01_002/{i:04d}.jpg", "train", 0, "01_002") for i in (0, 5)),
        ("testing/frames/01_0014/000.jpg", "test", 0, "01_0014"),
        ("testing/frames/01_0014/005.jpg", "test", 1, "01_0014"),
        ("testing/frames/01_0014/010.jpg", "test", 1, "01_0014"),
    ]
    assert found(catalog, "error") == []


def test_frames_of_a_video_are_counted_and_in_order(tmp_path):
    catalog = load_catalog(shanghaitech(tmp_path), category="01")
    greys = [float(read_image(r.path).mean()) for r in catalog.split("train")]
    assert greys == pytest.approx([0, 50, 100, 0, 50], abs=3)


def test_pixel_masks_become_pictures_of_the_frames_that_need_one(tmp_path):
    catalog = load_catalog(shanghaitech(tmp_path), category="01")
    masks = [read_mask(r.mask_paths) if r.mask_paths else None for r in catalog.split("test")]
    assert masks[0] is None
    expected = np.zeros((36, 64), bool)
    expected[5:15, 10:30] = True
    assert np.array_equal(masks[1], expected)
    assert np.array_equal(masks[2], expected)


def test_a_scene_has_to_be_chosen(tmp_path):
    shanghaitech(tmp_path)
    with pytest.raises(UsageError, match="holds several categories, choose one: 01, 02, 13"):
        load_catalog(tmp_path)
    with pytest.raises(UsageError, match="unknown category '1': expected one of"):
        load_catalog(tmp_path, category="1")
    assert not (tmp_path / "mstc").exists()


def test_scene_13_has_no_test_and_a_scene_without_videos_no_training(tmp_path):
    shanghaitech(tmp_path)
    assert found(load_catalog(tmp_path, category="13"), "warning") == [
        (".", "no test images: nothing can be measured"),
        (".", "only 1 normal training images, fewer than 20"),
    ]
    catalog = load_catalog(tmp_path, category="02")
    assert [r.label for r in catalog.records] == [0, 1]


def test_unpadded_names_are_sorted_as_numbers(tmp_path):
    shanghaitech(tmp_path)
    for path in (tmp_path / "testing/frames/01_0014").iterdir():
        path.rename(path.with_name(f"{int(path.stem)}.jpg"))
    assert [r.path.name for r in load_catalog(tmp_path, category="01").split("test")] == ["0.jpg", "5.jpg", "10.jpg"]


def test_frames_where_label_and_pixels_disagree_are_reported(tmp_path):
    shanghaitech(tmp_path)
    path = tmp_path / "testing/test_pixel_mask/01_0014.npy"
    values = np.load(path)
    values[0, :3], values[5] = 1, 0
    np.save(path, values.astype(bool))
    warnings = found(load_catalog(tmp_path, category="01"), "warning")
    assert ("testing/frames/01_0014/000.jpg", "is good, but its mask marks a defect") in warnings
    assert ("testing/frames/01_0014/005.jpg", "has a defect, but its mask is empty") in warnings


def test_missing_pixel_masks_are_errors_of_their_frames_alone(tmp_path):
    shanghaitech(tmp_path)
    (tmp_path / "testing/test_pixel_mask/01_0014.npy").unlink()
    catalog = load_catalog(tmp_path, category="01")
    assert [r.label for r in catalog.split("test")] == [0, 1, 1]
    assert found(catalog, "error") == [
        ("testing/frames/01_0014/005.jpg", "has a defect but no mask"),
        ("testing/frames/01_0014/010.jpg", "has a defect but no mask"),
    ]


def test_masks_of_a_clip_that_is_not_there_are_reported(tmp_path):
    shanghaitech(tmp_path)
    np.save(tmp_path / "testing/test_frame_mask/01_0099.npy", np.zeros(3, np.uint8))
    assert found(load_catalog(tmp_path, category="01"), "error") == [
        ("testing/test_frame_mask/01_0099.npy", "mask without an image")
    ]


def frame_mask(root):
    return root / "testing/test_frame_mask/01_0014.npy"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: frame_mask(root).unlink(), r"01_0014.npy: is missing, so the clip has no labels"),
        (lambda root: np.save(frame_mask(root), np.zeros(10, np.uint8)), r"has shape \(10,\), but the clip 11 frames"),
        (lambda root: np.save(frame_mask(root), np.zeros(11)), "holds float64, expected whole numbers"),
        (
            lambda root: np.save(frame_mask(root), np.array([None] * 11), allow_pickle=True),
            r"not a .npy file that can be read",
        ),
        (lambda root: frame_mask(root).write_bytes(frame_mask(root).read_bytes()[:-4]), "not a .npy file that can be"),
        (
            lambda root: np.save(root / "testing/test_pixel_mask/01_0014.npy", np.zeros((36, 64, 11), np.uint8)),
            r"has shape \(36, 64, 11\), expected \(11, height, width\)",
        ),
        (lambda root: (root / "testing/frames/01_0014/004.jpg").unlink(), "10 frames, but not numbered 0 to 9"),
        (lambda root: put(root / "testing/frames/01_0014/a.jpg", noise(0, 8, 8)), r"a.jpg has no frame number"),
        (lambda root: (root / "training/videos/01_002.avi").write_bytes(b"RIFF"), r"01_002.avi: cannot be decoded"),
    ],
)
def test_what_is_broken_is_named(tmp_path, spoil, message):
    spoil(shanghaitech(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        load_catalog(tmp_path, category="01")
    assert "\n" not in str(caught.value)


def test_extraction_goes_on_where_it_stopped(tmp_path, caplog):
    caplog.set_level("INFO", "cavga")
    shanghaitech(tmp_path)
    broken = tmp_path / "training/videos/01_002.avi"
    whole = broken.read_bytes()
    broken.write_bytes(b"RIFF")
    with pytest.raises(DataError):
        load_catalog(tmp_path, category="01")
    assert [path.name for path in (tmp_path / "mstc/training").iterdir()] == ["01_001"]  # nothing of 01_002
    broken.write_bytes(whole)
    caplog.clear()
    load_catalog(tmp_path, category="01")
    assert "training/01_002 " in caplog.text
    assert "training/01_001 " not in caplog.text
    caplog.clear()
    load_catalog(tmp_path, category="01")
    assert caplog.text == ""


def test_a_cut_video_is_named_in_the_log(tmp_path, caplog):
    path = avi(tmp_path / "training/videos/01_001.avi", 40)
    content = path.read_bytes()
    path.write_bytes(content[: (content.index(b"movi") + content.index(b"idx1")) // 2])
    load_catalog(tmp_path, category="01")
    assert "frames decoded, its header says 40; if it is cut" in caplog.text


def test_without_pyav_only_new_videos_fail(tmp_path, monkeypatch):
    shanghaitech(tmp_path)
    load_catalog(tmp_path, category="01")
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(load_catalog(tmp_path, category="01").records) == 8
    with pytest.raises(MissingExtraError, match=r"PyAV: pip install 'cavga\[video\]'"):
        load_catalog(tmp_path, category="13")


def test_an_empty_set_is_named(tmp_path):
    (tmp_path / "training/videos").mkdir(parents=True)
    with pytest.raises(DataError, match="no clips in training/videos"):
        load_catalog(tmp_path)
