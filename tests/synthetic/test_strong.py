"""Anomalies for a network without weights: strong, alike for a seed, of no kind that anything is tested with."""

import numpy as np
import pytest
from scipy import ndimage

from cavga.benchmark import textures
from cavga.synthetic.controlled import CONTROLLED_NAMES
from cavga.synthetic.labels import LABEL_MIDDLE, graded_label
from cavga.synthetic.scene import Scene
from cavga.synthetic.strong import SHARES, STRONG_NAMES, STRONG_TYPES, std_of, synthesise_strong_anomaly
from tests.synthetic.test_controlled import photograph


def other():
    return np.ascontiguousarray(photograph(colour=True)[::-1])


def test_no_kind_is_one_of_the_self_tests_or_of_the_demos():
    assert not set(STRONG_NAMES) & (set(CONTROLLED_NAMES) | set(textures.DEFECT_TYPES))
    assert sum(SHARES) == pytest.approx(1)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("anomaly_type", STRONG_NAMES)
def test_a_kind_changes_a_part_of_the_image_by_about_its_own_contrast(anomaly_type, colour):
    for seed in range(4):
        scene = Scene(photograph(colour=colour), other())
        after = STRONG_TYPES[anomaly_type][0](scene, np.random.default_rng(seed))
        assert (after.shape, after.dtype) == (scene.image.shape, np.float32)
        change = np.abs(after - scene.image).max(axis=2)
        assert 0 < (change > 1).mean() < 0.4
        assert change.max() > 0.3 * std_of(scene)


def test_one_seed_is_one_picture_and_neither_image_is_touched():
    image, second = photograph(), other()
    pictures = [synthesise_strong_anomaly(image, second, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert all(np.array_equal(a, b) for a, b in zip(pictures[0], pictures[1], strict=True))
    assert not np.array_equal(pictures[0][0], pictures[2][0])
    assert np.array_equal(image, photograph())
    assert np.array_equal(second, other())


def test_the_label_is_where_the_image_changed_and_grey_stays_grey():
    image = photograph()
    for seed in range(6):
        after, label = synthesise_strong_anomaly(image, other(), np.random.default_rng(seed))
        assert (after.dtype, label.dtype, label.shape) == (np.uint8, np.float32, image.shape[:2])
        assert (after == after[..., :1]).all()
        assert 0.5 <= label.max() <= 1
        is_changed = (after != image).any(axis=2)
        assert (label[ndimage.maximum_filter(is_changed, 9) == 0] == 0).all()
        assert is_changed[label >= 0.5].mean() > 0.8


@pytest.mark.parametrize("shape", [(5, 40), (8, 8), (16, 40), (40, 16)])
def test_small_images_are_no_trouble(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    results = [synthesise_strong_anomaly(image, image[::-1].copy(), np.random.default_rng(seed)) for seed in range(8)]
    assert (min(shape) < 8) == all(result is None for result in results)


def test_what_counts_as_much_follows_the_surface():
    before, after = np.full((2, 40, 40, 1), 100, dtype=np.float32)
    after[10:30, 10:30] = 112
    plain, on_a_rough_one = (graded_label(before, after, 1.0, middle=middle).max() for middle in (LABEL_MIDDLE, 24.0))
    assert plain > 0.9
    assert on_a_rough_one < 0.1
    assert np.array_equal(graded_label(before, after, 1.0), graded_label(before, after, 1.0, middle=1.0))
