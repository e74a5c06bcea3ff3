"""Anomalies made for training: where the image changed much the label is high, and where it did not it is 0."""

import numpy as np
import pytest
from scipy import ndimage

from cavga.data.makers import KINDS
from cavga.data.training_makers import TRAINING_KINDS, make_training_anomaly

from .test_makers import photograph


def made(kind, *, seed=0, image=None, other=None):
    image = photograph() if image is None else image
    other = np.ascontiguousarray(photograph(colour=True)[::-1]) if other is None else other
    return make_training_anomaly(image, other, kind, np.random.default_rng(seed))


def test_no_kind_is_one_of_the_self_tests():
    assert not set(TRAINING_KINDS) & set(KINDS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_the_label_is_graded_by_the_change(kind, seed):
    image = photograph(colour=True)
    after, label = made(kind, seed=seed, image=image)
    assert (after.dtype, after.shape) == (np.uint8, image.shape)
    assert (label.dtype, label.shape) == (np.float32, image.shape[:2])
    assert label.min() >= 0
    assert 0.5 <= label.max() <= 1
    change = np.abs(after.astype(int) - image).max(axis=2)
    near = ndimage.maximum_filter(change, 5)
    assert (label[near == 0] == 0).all()
    assert (label[change > 0] > 0).all()
    assert (label[ndimage.minimum_filter(ndimage.uniform_filter(change.astype(float), 7), 3) > 30] > 0.9).all()


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_one_seed_is_one_picture_and_another_is_another(kind):
    first, again, other = (made(kind, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_neither_image_is_touched(kind):
    image, other = photograph(), photograph(colour=True)
    made(kind, image=image, other=other)
    assert np.array_equal(image, photograph())
    assert np.array_equal(other, photograph(colour=True))


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_grey_stays_grey_even_beside_a_coloured_one(kind):
    for seed in range(6):
        after, _ = made(kind, seed=seed)
        assert (after == after[..., :1]).all()


@pytest.mark.parametrize("shape", [(8, 8), (9, 200), (300, 20), (128, 192)])
@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_small_and_oblong_images(kind, shape):
    image, other = np.random.default_rng(1).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    for seed in range(4):
        result = made(kind, image=image, other=other, seed=seed)
        if result is not None:
            assert result[0].shape == image.shape
            assert result[1].shape == shape


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_a_flat_image_has_anomalies_that_need_no_structure(kind):
    flat = np.full((64, 64, 3), 128, np.uint8)
    results = [made(kind, image=flat, other=flat, seed=seed) for seed in range(6)]
    if kind == "transplanted":
        assert results == [None] * 6
    else:
        assert any(result is not None for result in results)


@pytest.mark.parametrize("kind", TRAINING_KINDS)
def test_nothing_can_be_made_of_next_to_nothing(kind):
    assert made(kind, image=photograph()[:4, :4], other=photograph()[:4, :4]) is None
