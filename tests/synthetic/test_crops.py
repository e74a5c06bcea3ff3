"""The items of an epoch: functions of (seed, epoch, index), square cuts with their labels."""

import numpy as np
import pytest

from cavga.synthetic.crops import SyntheticImages, synthesise_images, synthetic_batch
from tests.conftest import texture


def textures(count, size=96):
    return np.repeat(np.stack([texture(i, size=size) for i in range(count)])[..., None], 3, axis=3)


@pytest.fixture(scope="module")
def made():
    return synthesise_images(textures(3), seed=0)


def test_the_same_seed_makes_the_same(made):
    again, other = synthesise_images(textures(3), seed=0), synthesise_images(textures(3), seed=1)
    assert np.array_equal(made.images, again.images)
    assert np.array_equal(made.labels, again.labels)
    assert made.images.shape != other.images.shape or not np.array_equal(made.images, other.images)
    assert (made.labels.max(axis=(1, 2)) > 127).all()


def test_a_batch_is_a_function_of_seed_epoch_and_index(made):
    indices = np.array([0, 5, len(made) - 1])
    first, again = (synthetic_batch(made, indices, seed=0, epoch=2) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    one = synthetic_batch(made, indices[1:2], seed=0, epoch=2)
    assert np.array_equal(one[0][0], first[0][1])
    for changed in ({"seed": 1, "epoch": 2}, {"seed": 0, "epoch": 3}):
        assert not np.array_equal(synthetic_batch(made, indices, **changed)[0], first[0])


def test_cuts_are_squares_of_64_px_or_half_the_image(made):
    images, labels = synthetic_batch(made, np.arange(len(made)), seed=0, epoch=0)
    assert images.shape == (len(made), 64, 64, 3)
    assert labels.shape == (len(made), 64, 64)
    assert (labels[: len(made.images)].max(axis=(1, 2)) > 127).mean() > 0.7
    assert (labels[len(made.images) :] == 0).all()
    wide = SyntheticImages(np.zeros((1, 32, 96, 3), np.uint8), np.zeros((1, 32, 96), np.uint8), textures(1))
    assert wide.item(0, seed=0, epoch=0)[0].shape == (32, 32, 3)
    large = SyntheticImages(np.zeros((1, 256, 256, 3), np.uint8), np.zeros((1, 256, 256), np.uint8), textures(1))
    assert large.item(0, seed=0, epoch=0)[0].shape == (128, 128, 3)


def test_the_label_turns_with_the_image():
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[:, 5:20, 30:50] = 200
    marked = SyntheticImages(image, (image[..., 0] > 0).astype(np.uint8) * 255, textures(1))
    for epoch in range(8):
        pixels, label = marked.item(0, seed=0, epoch=epoch)
        assert np.array_equal(pixels[..., 0] > 120, label > 127)


def test_images_on_which_nothing_shows_are_no_trouble():
    nothing = synthesise_images(np.zeros((2, 4, 4, 3), np.uint8), seed=0)
    assert len(nothing) == 2
    assert synthetic_batch(nothing, np.array([0, 1]), seed=0, epoch=0)[1].max() == 0
