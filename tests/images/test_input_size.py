import pytest

from cavga.config.schema import DataConfig
from cavga.errors import DataError
from cavga.images.input_size import mixed_shapes, seen_size, settled_size, size_in_own_shape
from cavga.images.roi import Roi


@pytest.mark.parametrize(
    ("photograph", "expected"),
    [
        ((512, 512), (384, 384)),
        ((28, 28), (256, 256)),  # smaller ones are enlarged
        ((300, 300), (288, 288)),  # as it is, but for multiples of 32
        ((800, 400), (544, 256)),  # no more than 384 x 384 pixels
        ((100, 250), (160, 416)),
        ((400, 100), (512, 128)),
        ((1000, 100), (640, 160)),  # longer ones are shortened
        ((10, 1000), (128, 512)),
        ((480, 640), (320, 448)),
    ],
)
def test_a_photograph_keeps_its_shape(photograph, expected):
    assert size_in_own_shape([photograph]) == expected


def test_an_input_of_any_shape_has_about_as_many_pixels_and_little_distortion():
    for width in range(250, 4001, 7):
        height, columns = size_in_own_shape([(1000, width)])
        assert 0.85 <= height * columns / 384**2 <= 1.15
        assert height % 32 == columns % 32 == 0
        assert 1 / 1.15 <= (height / columns) / (1000 / width) <= 1.15


def test_the_median_is_a_photograph_that_is_there():
    assert size_in_own_shape([(100, 100), (100, 100), (400, 100)]) == (256, 256)
    assert size_in_own_shape([(100, 400), (400, 100)]) == (128, 512)  # not the square between them
    with pytest.raises(DataError, match="at least one photograph"):
        size_in_own_shape([])


def test_a_size_that_is_given_is_taken():
    assert settled_size(DataConfig(image_size=(64, 96)), [(100, 100)]) == (64, 96)
    assert settled_size(DataConfig(), [(100, 100)]) == (256, 256)


def test_what_is_seen_of_a_photograph_is_a_tile_or_a_region():
    assert seen_size((300, 800)) == (300, 800)
    assert seen_size((300, 800), tile=400) == (300, 400)
    roi = Roi(10, 20, 500, 100)
    assert seen_size((300, 800), roi=roi) == (100, 500)
    assert seen_size((300, 800), roi=roi, tile=128) == (100, 128)


def test_photographs_of_one_shape_are_not_mixed():
    assert mixed_shapes([(100, 200), (200, 400), (110, 200)]) is None
    assert mixed_shapes([(100, 100)] * 9 + [(100, 300)]) is None  # a tenth is not yet a mixture


def test_photographs_of_several_shapes_are_counted():
    said = mixed_shapes([(100, 100)] * 8 + [(100, 200), (300, 100)])
    assert said == (
        "photographs of mixed shapes, height to width 0.5 to 3: 2 of 10 are more than 25% off the median, 1, and are "
        "stretched to it"
    )
