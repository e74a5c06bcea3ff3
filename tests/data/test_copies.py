import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cavga.data.copies import group_copies, read_as_hashed, read_once, thumbnail_of, units_of_copies
from cavga.data.records import ImageRecord, unit_numbers
from cavga.errors import DataError
from tests.conftest import save_image, texture


def photograph(seed, *, size=192):
    return np.repeat(texture(seed, size=size)[..., None], 3, axis=2)


def jpeg(pixels, quality):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def units(*photographs):
    return units_of_copies([str(i) for i in range(len(photographs))], [thumbnail_of(p) for p in photographs])


def half(pixels):
    return np.asarray(Image.fromarray(pixels).resize((96, 96), Image.Resampling.LANCZOS))


def exposed_again(pixels):
    noise = np.random.default_rng(1).normal(0, 3, pixels.shape)
    return (pixels * 1.01 + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("again", [lambda p: p, lambda p: jpeg(p, 90), lambda p: jpeg(p, 75), half, exposed_again])
def test_a_photograph_saved_resized_or_taken_again_is_the_same_one(again):
    originals = [photograph(i) for i in range(6)]
    assert units(*originals, *map(again, originals)) == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]


def test_different_photographs_of_featureless_parts_stay_different():
    rng = np.random.default_rng(0)
    plain = [(128 + rng.normal(0, 5, (192, 192, 3))).clip(0, 255).astype(np.uint8) for _ in range(20)]
    assert units(*plain) == list(range(20))


def test_two_photographs_are_two_and_copies_of_one_are_one():
    assert units(photograph(0), photograph(1)) == [0, 1]
    assert units(*[photograph(0)] * 5) == [0] * 5
    assert units_of_copies(["a", "b", "a"], [thumbnail_of(photograph(i)) for i in (0, 1, 0)]) == [0, 1, 0]
    assert units_of_copies([], []) == []


def test_more_images_than_are_compared_at_once_are_grouped_alike(monkeypatch):
    monkeypatch.setattr("cavga.data.copies.AT_ONCE", 4)
    originals = [photograph(i) for i in range(11)]
    assert units(*originals, *originals) == [*range(11), *range(11)]


def test_frames_of_a_slow_film_are_not_all_one_photograph():
    start, others = photograph(0).astype(float), [photograph(i) for i in range(1, 9)]
    change = photograph(99) - photograph(98).astype(float)
    film = [(start + change * i / 60).clip(0, 255).astype(np.uint8) for i in range(12)]
    assert 2 < len(set(units(*film, *others)[:12])) < 12


def test_copies_are_groups_and_join_the_groups_that_they_have():
    records = [ImageRecord(Path(f"/{i}"), str(i), 0, "train", group=group) for i, group in enumerate("aa--b-")]
    records = [r if r.group != "-" else ImageRecord(r.path, r.relative_path, 0, "train") for r in records]
    grouped = group_copies(records, [0, 1, 2, 2, 3, 1])
    assert unit_numbers(grouped) == [0, 0, 1, 1, 2, 0]
    assert [record.group for record in grouped] == ["a", "a", "2", "2", "b", "a"]


def test_what_is_used_is_what_was_hashed(tmp_path):
    path = save_image(tmp_path / "a.png", texture(0))
    pixels, facts = read_once(path)
    assert np.array_equal(read_as_hashed(path, facts.sha256), pixels)
    save_image(path, texture(1))
    with pytest.raises(DataError, match=r"a\.png: was changed while it was in use"):
        read_as_hashed(path, facts.sha256)
