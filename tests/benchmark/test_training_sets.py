from pathlib import Path

import pytest

from cavga.benchmark.training_sets import contaminate, write_contaminated
from cavga.data.catalog import load_catalog
from cavga.data.records import ImageRecord
from cavga.errors import DataError, UsageError


def record(split: str, number: int, *, label: int = 0) -> ImageRecord:
    path = Path("/data") / split / str(label) / f"{number:03d}.png"
    masks = (path.with_suffix(".mask.png"),) if label else ()
    return ImageRecord(path=path, relative_path=path.as_posix(), label=label, split=split, mask_paths=masks,
                       defect_type="scratch" if label else None)  # fmt: skip


RECORDS = (
    *(record("train", i) for i in range(90)),
    *(record("test", i) for i in range(5)),
    *(record("test", i, label=1) for i in range(30)),
)


def contaminated(share, *, records=RECORDS, seed=0):
    return contaminate(records, share=share, reserved_share=0.1, seed=seed)


def added(records):
    return [r for r in records if r.split == "train" and "test" in r.path.parts]


def test_the_share_is_of_good_and_bad_images_together():
    for share, expected in ((0.0, 0), (0.02, 2), (0.05, 5), (0.1, 10)):
        assert len(added(contaminated(share))) == expected


def test_every_share_keeps_all_good_images_and_leaves_one_test_set():
    tests = {tuple(r.path for r in contaminated(share) if r.split == "test") for share in (0.0, 0.02, 0.1)}
    assert len(tests) == 1
    assert len(tests.pop()) == 5 + 20
    for share in (0.0, 0.1):
        assert [r for r in contaminated(share) if r.split == "train"][:90] == list(RECORDS[:90])
        paths = [r.path for r in contaminated(share)]
        assert len(set(paths)) == len(paths)


def test_added_images_look_like_good_ones_and_smaller_shares_are_parts_of_larger_ones():
    few, many = (added(contaminated(share)) for share in (0.02, 0.1))
    assert set(few) < set(many)
    assert {(r.label, r.mask_paths, r.defect_type) for r in many} == {(0, (), None)}
    assert {r.path for r in many} <= {r.path for r in RECORDS if r.label}


def test_the_seed_decides_and_the_order_of_the_records_does_not():
    assert added(contaminated(0.1)) == added(contaminated(0.1, records=RECORDS[::-1]))
    assert added(contaminated(0.1)) != added(contaminated(0.1, seed=1))


def test_shares_that_cannot_be():
    with pytest.raises(UsageError, match=r"0 <= share <= 0\.1"):
        contaminated(0.2)
    with pytest.raises(DataError, match=r"10 anomalous test images are needed for 10%.*there are 10"):
        contaminated(0.0, records=RECORDS[:105])


def test_the_manifest_is_read_back(category, tmp_path):
    manifest = tmp_path / "below/manifest.csv"
    write_contaminated(category, manifest, share=0.1, reserved_share=0.2, seed=0)
    catalog, before = load_catalog(manifest), load_catalog(category)
    assert not catalog.missing
    assert catalog.category == category.name
    assert {r.label for r in catalog.split("train")} == {0}
    assert len(catalog.split("train")) == len(before.split("train")) + 1
    assert len(catalog.split("test")) == len(before.split("test")) - 3
    assert all(len(r.mask_paths) == r.label for r in catalog.split("test"))
