import numpy as np
import pytest
from PIL import Image

from cavga.images.masks import examine_mask, read_mask

SHAPE = (40, 60)


@pytest.fixture
def drawn():
    mask = np.zeros(SHAPE, np.bool_)
    mask[8:20, 10:30] = True
    return mask


def saved(path, picture, **options):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def in_channel(mask, channel, value):
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[mask, channel] = value
    return picture


def palette(mask, colours):
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(sum(colours, ()))
    return picture


def with_alpha(colour, alpha):
    return np.dstack([np.broadcast_to(np.array(colour, np.uint8), (*alpha.shape, 3)), alpha.astype(np.uint8)])


WAYS = {
    "0 and 255": lambda mask: mask.astype(np.uint8) * 255,
    "0 and 1": lambda mask: mask.astype(np.uint8),
    "a class number in red": lambda mask: in_channel(mask, 0, 1),
    "a class number in blue": lambda mask: in_channel(mask, 2, 3),
    "16 bits": lambda mask: mask.astype(np.uint16) * 7,
    "a palette of black and a colour": lambda mask: palette(mask, [(0, 0, 0), (128, 0, 0)]),
    "a palette of black numbers": lambda mask: palette(mask, [(0, 0, 0), (0, 0, 0)]),
    "a palette without black": lambda mask: palette(mask, [(90, 90, 90), (255, 0, 0)]),
    "a palette whose second colour is black": lambda mask: palette(~mask, [(255, 255, 255), (0, 0, 0)]),
    "white, its shape transparency": lambda mask: with_alpha((255, 255, 255), mask * 255),
    "black, its shape transparency": lambda mask: with_alpha((0, 0, 0), mask * 255),
    "opaque colours": lambda mask: np.dstack([in_channel(mask, 1, 255), np.full(SHAPE, 255, np.uint8)]),
    "one bit": Image.fromarray,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_mask_is_read_as_it_is_meant(tmp_path, drawn, way):
    path = saved(tmp_path / "a.png", WAYS[way](drawn))
    np.testing.assert_array_equal(read_mask([path]), drawn)
    assert examine_mask(path).doubts == ()


def test_ringing_of_a_jpeg_is_not_marked_and_that_is_said(tmp_path, drawn):
    rng = np.random.default_rng(0)
    mask = drawn.copy()
    mask[rng.integers(25, 38, 30), rng.integers(0, 60, 30)] = True
    path = saved(tmp_path / "a.jpg", mask.astype(np.uint8) * 255, quality=75)
    assert (np.asarray(Image.open(path)) > 0).sum() > 2 * mask.sum()
    reading = examine_mask(path)
    assert (reading.mask != mask).mean() < 0.01
    assert reading.doubts == ("is a lossy JPEG file: only what is above half of its range is taken as marked",)


def test_a_mask_that_marks_most_of_the_picture_is_doubted(tmp_path, drawn):
    path = saved(tmp_path / "a.png", (~drawn).astype(np.uint8) * 255)
    np.testing.assert_array_equal(read_mask([path]), ~drawn)
    assert examine_mask(path).doubts == ("marks 90% of the picture: see that it is not inverted",)
    assert examine_mask(path, is_region=True).doubts == ()
    path = saved(tmp_path / "all.png", np.full(SHAPE, 255, np.uint8))
    assert examine_mask(path, is_region=True).doubts == ("marks 100% of the picture: see that it is not inverted",)


def test_a_soft_mask_is_doubted(tmp_path):
    soft = np.zeros(SHAPE, np.uint8)
    soft[:10] = np.arange(60)
    doubts = examine_mask(saved(tmp_path / "a.png", soft)).doubts
    assert doubts == ("has 60 different values, as a photograph has: all above 0 are taken as marked",)
