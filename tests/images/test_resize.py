import numpy as np
import pytest
import torch
from PIL import Image

from cavga.images.resize import ONE, filter_weights, resize_map, resize_mask, resized
from cavga.images.torch_resize import resize

SIZES = [(32, 32), (33, 47), (64, 64), (1, 1), (7, 300), (321, 5), (1200, 900)]


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("target", [(32, 32), (48, 20)])
def test_torch_and_numpy_give_the_same_bits(size, target):
    photographs = np.stack([noise(*size), noise(*size)[::-1]])
    in_torch = resize(torch.from_numpy(photographs), target).numpy()
    np.testing.assert_array_equal(in_torch, [resized(photograph, target) for photograph in photographs])


@pytest.mark.parametrize("size", SIZES)
def test_it_is_pillows_filter_to_a_grey_level_borders_included(size):
    photograph = noise(*size)
    ours = resized(photograph, (32, 48)).astype(int)
    pillow = np.asarray(Image.fromarray(photograph).resize((48, 32), Image.Resampling.BILINEAR))
    assert np.abs(ours - pillow).max() <= 1


def test_nothing_changes_where_the_size_fits_and_flat_stays_flat():
    photograph = noise(32, 48)
    np.testing.assert_array_equal(resized(photograph, (32, 48)), photograph)
    np.testing.assert_array_equal(resize(torch.from_numpy(photograph)[None], (32, 48))[0], photograph)
    for level in (0, 1, 127, 254, 255):
        assert (resized(np.full((777, 501, 3), level, np.uint8), (64, 64)) == level).all()


def test_sums_stay_exact_in_float32():
    for num_in in (1, 2, 3, 100, 255, 256, 257, 5000, 30000):
        weights = filter_weights(num_in, 256)
        assert 255 * weights.sum(axis=1).max() + ONE < 2**24
        assert abs(weights.sum(axis=1) - ONE).max() < ONE / 20


def test_a_thin_scratch_survives_a_smaller_size():
    mask = np.zeros((256, 256), dtype=bool)
    mask[:, 100] = True
    assert resize_mask(mask, (128, 128)).any(axis=1).all()


def test_a_resized_map_keeps_values_beyond_the_range_of_bytes():
    resized = resize_map(np.full((4, 6), 1000.5, dtype=np.float32), (8, 12))
    assert resized.dtype == np.float32
    assert (resized == 1000.5).all()
