"""Anomalies made for training: where the image changed much the label is high, and where it did not it is 0."""

import numpy as np
import pytest
from scipy import ndimage

from cavga.synthetic.controlled import CONTROLLED_NAMES
from cavga.synthetic.labels import graded_label
from cavga.synthetic.subtle import SUBTLE_NAMES, synthesise_subtle_anomaly
from tests.synthetic.test_controlled import photograph


def made(anomaly_type, *, seed=0, image=None, other=None):
    image = photograph() if image is None else image
    other = np.ascontiguousarray(photograph(colour=True)[::-1]) if other is None else other
    return synthesise_subtle_anomaly(image, other, anomaly_type, np.random.default_rng(seed))


def test_no_kind_is_one_of_the_self_tests():
    assert not set(SUBTLE_NAMES) & set(CONTROLLED_NAMES)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_the_label_is_graded_by_the_change(anomaly_type, seed):
    image = photograph(colour=True)
    after, label = made(anomaly_type, seed=seed, image=image)
    assert (after.dtype, after.shape) == (np.uint8, image.shape)
    assert (label.dtype, label.shape) == (np.float32, image.shape[:2])
    assert label.min() >= 0
    assert 0.5 <= label.max() <= 1
    change = np.abs(after.astype(int) - image).max(axis=2)
    near = ndimage.maximum_filter(change, 5)
    assert (label[near == 0] == 0).all()
    assert (label[change > 0] > 0).all()
    assert (label[ndimage.minimum_filter(ndimage.uniform_filter(change.astype(float), 7), 3) > 30] > 0.9).all()


@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_one_seed_is_one_picture_and_another_is_another(anomaly_type):
    first, again, other = (made(anomaly_type, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_neither_image_is_touched(anomaly_type):
    image, other = photograph(), photograph(colour=True)
    made(anomaly_type, image=image, other=other)
    assert np.array_equal(image, photograph())
    assert np.array_equal(other, photograph(colour=True))


@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_grey_stays_grey_even_beside_a_coloured_one(anomaly_type):
    for seed in range(6):
        after, _ = made(anomaly_type, seed=seed)
        assert (after == after[..., :1]).all()


@pytest.mark.parametrize("shape", [(8, 8), (9, 200), (300, 20), (128, 192)])
@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_small_and_oblong_images(anomaly_type, shape):
    image, other = np.random.default_rng(1).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    for seed in range(4):
        result = made(anomaly_type, image=image, other=other, seed=seed)
        if result is not None:
            assert result[0].shape == image.shape
            assert result[1].shape == shape


@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_a_flat_image_has_anomalies_that_need_no_structure(anomaly_type):
    flat = np.full((64, 64, 3), 128, np.uint8)
    results = [made(anomaly_type, image=flat, other=flat, seed=seed) for seed in range(6)]
    if anomaly_type == "transplanted":
        assert results == [None] * 6
    else:
        assert any(result is not None for result in results)


@pytest.mark.parametrize("anomaly_type", SUBTLE_NAMES)
def test_nothing_can_be_made_of_next_to_nothing(anomaly_type):
    assert made(anomaly_type, image=photograph()[:4, :4], other=photograph()[:4, :4]) is None


@pytest.mark.parametrize(("change", "least", "most"), [(1, 0, 0.02), (2.5, 0, 0.05), (6.5, 0.4, 0.6), (12, 0.95, 1)])
def test_the_label_of_an_even_change(change, least, most):
    before, after = np.zeros((2, 40, 40, 1), np.float32)
    after[10:30, 10:30] = change
    label = graded_label(before, after, 1.0)
    assert least <= label[20, 20] <= most
    assert (label > 0).sum() == 400


def test_nothing_changed_has_no_label():
    pixels = np.zeros((9, 9, 3), np.float32)
    assert not graded_label(pixels, pixels, 1.0).any()


def test_the_gaps_in_a_coarse_change_are_closed():
    before, after = np.zeros((2, 60, 60, 1), np.float32)
    after[10:50, 10:50, 0] = np.random.default_rng(0).choice([-20.0, 0.0, 20.0], (40, 40))
    label = graded_label(before, after, 1.0)
    assert label[12:48, 12:48].min() > 0.3
    assert label[12:48, 12:48].mean() > 0.6


def statistics(anomaly_type, *, num=16):
    """Of what is marked: its area, how far its largest piece reaches, how much of the pieces' boxes it fills."""
    image, other = photograph(), np.ascontiguousarray(photograph()[::-1, ::-1])
    rows = []
    for seed in range(num):
        _, label = made(anomaly_type, seed=seed, image=image, other=other)
        is_marked = label > 0.5
        tiles, _ = ndimage.label(is_marked)
        reaches = [np.hypot(*(s.stop - s.start for s in box)) for box in ndimage.find_objects(tiles)]
        rows.append((is_marked.mean(), max(reaches), is_marked.sum() / sum(r**2 / 2 for r in reaches)))
    return np.median(rows, axis=0)


def test_each_kind_is_like_none_of_the_others():
    area, reach, fill = np.transpose([statistics(anomaly_type) for anomaly_type in SUBTLE_NAMES])
    by_area = dict(zip(SUBTLE_NAMES, area, strict=True))
    by_reach = dict(zip(SUBTLE_NAMES, reach, strict=True))
    by_fill = dict(zip(SUBTLE_NAMES, fill, strict=True))
    assert max(by_area, key=by_area.get) == "region"
    assert min(by_reach, key=by_reach.get) == "spot"
    assert min(by_fill, key=by_fill.get) == "scratch"
    assert by_reach["scratch"] > 2 * by_reach["spot"]
    assert by_area["scratch"] < by_area["transplanted"] < by_area["region"]
    assert by_area["texture"] > by_area["stain"]


def test_blurring_and_roughening_keep_the_brightness_and_a_stain_does_not():
    shifts = {}
    for anomaly_type in ("blurred", "stain"):
        results = [made(anomaly_type, seed=seed, image=photograph()) for seed in range(16)]
        shifts[anomaly_type] = np.median([abs((a - photograph().astype(float))[m > 0.5].mean()) for a, m in results])
    assert shifts["stain"] > 2 * shifts["blurred"]


def test_anomalies_come_on_the_part_rather_than_on_what_it_lies_on():
    image = np.full((200, 200, 3), 200, np.uint8)
    image[80:120, 80:120] = photograph()[:40, :40]
    results = [made("spot", image=image, other=image, seed=seed) for seed in range(40)]
    on_part = [label[70:130, 70:130].sum() / label.sum() for _, label in results]
    assert 0.6 < np.mean(on_part) < 0.99  # and some anywhere


def test_a_grey_image_among_coloured_ones_and_a_coloured_one_among_grey():
    grey, coloured = photograph(), photograph(colour=True)
    for anomaly_type in SUBTLE_NAMES:
        for image, other in ((grey, coloured), (coloured, grey)):
            after, _ = made(anomaly_type, image=image, other=other)
            assert after.shape == image.shape
