import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cavga.images.decode import grey_depth, load_image, read_image, read_photograph
from cavga.images.pixel_range import PixelRange, depth_in_use, pixel_range_of, range_of_set


def saved(path, values, **options):
    Image.fromarray(np.array(values, np.uint16)).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("highest", "declared", "depth"),
    [
        *[(0, None, 8), (255, None, 8), (256, None, 10), (1023, None, 10), (1024, None, 12), (4095, None, 12)],
        *[(4096, None, 14), (16384, None, 16), (65535, None, 16)],
        *[(900, 12, 12), (5000, 12, 14), (65520, 12, 16), (3000, 11, 12)],
    ],
)
def test_the_depth_in_use_holds_the_highest_value_and_what_is_declared(highest, declared, depth):
    assert depth_in_use(highest, declared) == depth


def test_a_set_has_the_depth_of_its_widest_photograph():
    assert range_of_set([12, 10, None, 12]) == PixelRange(12, (10, 12))
    assert range_of_set([None, None]) == PixelRange(16, ())
    for found in (PixelRange(12, (10, 12)), PixelRange(16, ()), PixelRange()):
        assert pixel_range_of(found.described()) == found
    assert pixel_range_of({"image_size": [8, 8]}) == PixelRange(16)  # a model from before this was written


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_greys_are_scaled_by_the_bits_in_use(tmp_path, depth):
    largest = 2**depth - 1
    path = saved(tmp_path / "a.png", [[0, largest // 2, largest]])
    assert read_image(path, PixelRange(depth))[0, :, 0].tolist() == [0, 127, 255]
    beyond = saved(tmp_path / "b.png", [[0, min(largest + 1, 65535)]])
    assert read_image(beyond, PixelRange(depth))[0, -1, 0] == 255


def test_sixteen_bits_are_read_as_ever(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", values))[..., 1], expected)


def test_a_tiff_whose_zero_is_white_is_read_right_way_round(tmp_path):
    path = saved(tmp_path / "a.tif", [[0, 2048, 4095]], tiffinfo={262: 0})
    with Image.open(path) as stored:
        assert stored.tag_v2[262] == 0
    assert read_image(path, PixelRange(12))[0, :, 0].tolist() == [255, 127, 0]


def test_what_a_file_declares_is_used(tmp_path):
    path = saved(tmp_path / "a.tif", [[0, 900]], tiffinfo={281: 4095})
    assert grey_depth(load_image(path.read_bytes(), path)) == 12
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 900]], np.uint16)).save(buffer, "PNG")
    content, chunk = buffer.getvalue(), b"sBIT\x0c"
    whole = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    declared = content[:33] + whole + content[33:]
    assert grey_depth(load_image(declared, tmp_path / "a.png")) == 12
    assert grey_depth(load_image(content, tmp_path / "a.png")) == 10


def test_another_range_than_the_training_s_is_remarked(tmp_path):
    path = saved(tmp_path / "a.png", [[0, 60000]])
    assert read_photograph(path, PixelRange(12, (12,))).remarks == (
        "uses 16 of its 16 bits, the photographs that the model has learnt use 12",
    )
    assert read_photograph(path, PixelRange(16, (14, 16))).remarks == ()
    assert read_photograph(path, PixelRange()).remarks == ()
    dark = saved(tmp_path / "b.png", [[0, 3000]])
    assert "the model has learnt 8-bit files" in read_photograph(dark, PixelRange(16, ())).remarks[0]


@pytest.mark.parametrize(("name", "count"), [("p.tif", 3), ("p.webp", 3), ("p.png", 3), ("p.gif", 3), ("p.jpg", 1)])
def test_further_pages_are_remarked(tmp_path, name, count):
    pages = [Image.fromarray(np.full((8, 9, 3), 50 * i, np.uint8)) for i in range(3)]
    more = {"save_all": True, "append_images": pages[1:]} if count > 1 else {}
    pages[0].save(tmp_path / name, **more)
    expected = (f"has {count} pages or frames, of which only the first is used",) if count > 1 else ()
    assert read_photograph(tmp_path / name).remarks == expected
    assert read_image(tmp_path / name).max() < 20
