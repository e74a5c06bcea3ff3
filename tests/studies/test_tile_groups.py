from pathlib import Path

from cavga.data.catalog import load_catalog
from cavga.data.records import ImageRecord, hold_out
from tests.conftest import save_image, texture


def tile(name: str, split: str, label: int = 0) -> ImageRecord:
    path = Path("/tile") / split / f"{name}.jpg"
    return ImageRecord(path=path, relative_path=path.as_posix(), label=label, split=split)


def test_a_group_is_a_run_of_neighbouring_numbers():
    from studies.tile_groups import groups_of

    assert groups_of([]) == {}
    groups = groups_of([1400, 0, 150, 350, 551, 751, 150])
    assert groups == {
        **{0: "place-0", 150: "place-0", 350: "place-0"},  # 350 is 350 from the first: it is the run that counts
        **{551: "place-551", 751: "place-551"},
        1400: "place-1400",
    }


def test_training_images_that_share_a_group_with_any_test_image_are_left_out():
    from studies.tile_groups import summary, with_groups, without_shared

    records = [
        tile("exp1_num_100", "train"),
        tile("exp2_num_120", "test"),
        tile("exp1_num_1000", "train"),
        tile("exp3_num_1030", "test", label=1),
        tile("exp1_num_5000", "train"),
        tile("exp2_num_5020", "train"),
        tile("another name", "train"),
        tile("exp4_num_9000", "test"),
    ]
    grouped = with_groups(records)
    assert [record.group for record in grouped] == [
        *("place-100", "place-100", "place-1000", "place-1000", "place-5000", "place-5000", None, "place-9000"),
    ]
    kept = without_shared(grouped)
    assert [record.path.stem for record in kept if record.split == "train"] == [
        *("exp1_num_5000", "exp2_num_5020", "another name"),
    ]
    assert [record for record in kept if record.split == "test"] == [r for r in grouped if r.split == "test"]
    text = summary(grouped, kept)
    assert "8 images in 4 groups, the largest of 2" in text
    assert "of 5 training images 3 stay, in 2 groups; of the 2 left out 1 share" in text


def test_the_manifest_of_the_tiles_is_read_back_with_its_groups(tmp_path, monkeypatch):
    from studies import tile_groups

    data = tmp_path / "magnetic_tile"
    for i, place in enumerate(("train/good/exp1_num_10", "train/good/exp1_num_900", "train/good/exp2_num_910",
                               "test/good/exp2_num_20", "test/break/exp1_num_2000")):  # fmt: skip
        save_image(data / f"{place}.png", texture(i))
    save_image(data / "ground_truth/break/exp1_num_2000_mask.png", texture(9) // 128 * 255)
    for manifest in (tmp_path / "elsewhere/groups.csv", data / "groups.csv"):  # absolute paths, relative ones
        monkeypatch.setattr("sys.argv", ["tile_groups.py", str(data), str(manifest)])
        tile_groups.main()
        catalog = load_catalog(manifest)
        assert not catalog.missing
        assert [record.path.stem for record in catalog.split("train")] == ["exp1_num_900", "exp2_num_910"]
        assert len(catalog.split("test")) == 2
        assert [len(record.mask_paths) for record in catalog.split("test")] == [1, 0]
        fitted, held = hold_out(catalog.split("train"), fraction=0.5, seed=0)
        assert {len(fitted), len(held)} == {0, 2}  # one place is never cut
