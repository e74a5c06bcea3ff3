import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from cavga.errors import DataError
from cavga.images.as_photograph import as_photograph
from cavga.images.decode import read_photograph
from cavga.images.pixel_range import PixelRange

ALL_BITS, TEN_BITS = PixelRange(), PixelRange(10, (10,))
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def pixels_of(image, pixel_range=ALL_BITS):
    found = as_photograph(image, "it", pixel_range).pixels
    assert found.dtype == np.uint8
    assert found.shape[2:] == (3,)
    return found


@pytest.mark.parametrize(
    "image",
    [
        RGB,
        np.dstack([RGB, RGB[..., :1]]),
        RGB / 255,
        (RGB / 255).astype(np.float32),
        RGB.astype(np.uint16) * 257,
        np.asfortranarray(RGB),
        Image.fromarray(RGB),
        Image.fromarray(np.dstack([RGB, 0 * RGB[..., :1]])),
        torch.from_numpy(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1) / 255,
        (torch.from_numpy(RGB) / 255).requires_grad_(),
    ],
)
def test_every_form_of_a_colour_photograph_has_its_pixels(image):
    np.testing.assert_array_equal(pixels_of(image), RGB)


@pytest.mark.parametrize(
    "image",
    [
        RGB[..., 0],
        RGB[..., :1],
        RGB[..., 0] / 255,
        Image.fromarray(RGB[..., 0]),
        torch.from_numpy(RGB[..., 0].copy()),
        torch.from_numpy(RGB[..., 0].copy())[None],
    ],
)
def test_every_form_of_a_grey_photograph_has_its_pixels(image):
    np.testing.assert_array_equal(pixels_of(image), np.repeat(RGB[..., :1], 3, axis=2))


def test_half_precision_is_read_to_a_grey_level():
    for dtype, levels in ((torch.float16, 0), (torch.bfloat16, 1)):
        difference = pixels_of((torch.from_numpy(RGB) / 255).to(dtype)).astype(int) - RGB
        assert np.abs(difference).max() <= levels


@pytest.mark.parametrize("pixel_range", [PixelRange(), TEN_BITS])
def test_sixteen_bits_are_read_as_a_file_of_them_is(tmp_path, pixel_range):
    grey = np.random.default_rng(0).integers(0, 1024, (6, 8), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = read_photograph(tmp_path / "grey.png", pixel_range)
    opened = Image.open(tmp_path / "grey.png")
    for image in (grey, grey[..., None], grey.astype(">u2"), torch.from_numpy(grey), opened, Image.fromarray(grey)):
        found = as_photograph(image, "it", pixel_range)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert found.depth == expected.depth == 10


def test_greys_of_another_depth_than_learnt_are_remarked():
    (remark,) = as_photograph(np.full((4, 4), 60000, np.uint16), "it", TEN_BITS).remarks
    assert remark.startswith("uses 16 of its 16 bits")


def test_a_white_is_zero_tiff_that_pillow_opened_is_read_as_the_file_is(tmp_path):
    grey = np.random.default_rng(0).integers(0, 65536, (6, 8), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "grey.tif") as opened:
        np.testing.assert_array_equal(pixels_of(opened), read_photograph(tmp_path / "grey.tif").pixels)


def test_a_pillow_image_is_turned_upright_and_left_as_it_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        np.testing.assert_array_equal(pixels_of(opened), np.rot90(RGB, -1))
        assert opened.size == (7, 5)
    palette = Image.fromarray(RGB).quantize(4)
    palette.info["transparency"] = 0
    assert pixels_of(palette).shape == (5, 7, 3)
    assert palette.info["transparency"] == 0


def test_the_pixels_are_a_copy():
    own = RGB.copy()
    found = pixels_of(own)
    own[:] = 0
    np.testing.assert_array_equal(found, RGB)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (RGB.astype(np.float32), "found 0 to 2[0-9]+; divide by the level of white"),
        (RGB / 255 - 0.5, "expected floats from 0 to 1, found -0.5"),
        (np.full((4, 4), np.nan), "NaN"),
        (RGB.astype(np.int64), "expected uint8, uint16 or floats from 0 to 1, got int64"),
        (RGB > 9, "got bool"),
        (RGB.transpose(2, 0, 1), r"got \(3, 5, 7\); if its channels come first, give array.transpose\(1, 2, 0\)"),
        (RGB[..., :2], r"1, 3 or 4 channels, got \(5, 7, 2\)$"),
        (RGB[:0], "got"),
        (RGB[0, :, 0], "got"),
        (torch.zeros(3, 8, 4), r"the channels of shape \(3, 8, 4\) may be its first or its last axis"),
        (torch.zeros(2, 8, 8), "got"),
        (Image.new("F", (4, 4)), "float pixels"),
        (Image.new("RGB", (0, 4)), "0 x 4 px"),
    ],
)
def test_what_could_mean_two_things_or_none_is_refused_in_one_line(image, said):
    with pytest.raises(DataError, match=said) as caught:
        as_photograph(image, "it", PixelRange())
    assert str(caught.value).startswith("it: ")
    assert "\n" not in str(caught.value)


def test_looking_for_a_tensor_loads_no_torch():
    code = (
        "import sys; import numpy as np; from cavga.images.as_photograph import *; "
        "as_photograph(np.zeros((4, 4)), '', PixelRange()); assert not is_held(3) and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
