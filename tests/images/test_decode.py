import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cavga.errors import DataError
from cavga.images.decode import read_image, read_image_size
from cavga.images.masks import read_mask
from cavga.images.opening import ImageFileError
from cavga.images.walk import IMAGE_SUFFIXES

SIXTEEN_BIT = np.array([[0, 127, 128, 129, 385, 386, 25828, 25829, 65406, 65407, 65535]], dtype=np.uint16)
EIGHT_BIT = np.array([[0, 0, 0, 1, 1, 2, 100, 101, 254, 255, 255]], dtype=np.uint8)  # x / 257, by hand
LOSSLESS = [".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pnm", ".jp2", ".j2k", ".PNG"]


def pixels(height=24, width=32):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, picture, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".webp":
        options["lossless"] = True
    picture.save(path, **options)
    return path


def png(path, width, height, colour_type, rows, depth=16):
    """A PNG written by hand, because Pillow does not write every kind."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def tiff_rgb16(path, values, order):
    """An uncompressed 16-bit RGB TIFF of one row; `order` is "<" or ">"."""
    data = np.repeat(values[0][:, None], 3, axis=1).astype(order + "u2").tobytes()
    width, tags = values.shape[1], []
    after = 8 + 2 + 12 * 9 + 4
    for tag, value in ((256, width), (257, 1), (258, None), (259, 1), (262, 2), (273, after + 6), (277, 3)):
        if tag == 258:  # bits per sample: three values, so they lie behind the table
            tags.append(struct.pack(order + "HHII", tag, 3, 3, after))
        else:
            tags.append(struct.pack(order + "HHII", tag, 4, 1, value))
    tags += [struct.pack(order + "HHII", 278, 4, 1, 1), struct.pack(order + "HHII", 279, 4, 1, len(data))]
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "IH", 8, len(tags)) + b"".join(tags) + struct.pack(order + "I", 0)
    path.write_bytes(head + struct.pack(order + "HHH", 16, 16, 16) + data)
    return path


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".PNG", ".JPG"])
def test_every_suffix_is_read_as_rgb(tmp_path, suffix):
    path = save(tmp_path / "Prüfling 1" / f"ö ä{suffix}", Image.fromarray(pixels()))
    image = read_image(path)
    assert image.shape == (24, 32, 3)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert read_image_size(path) == (24, 32)
    if suffix in LOSSLESS:
        np.testing.assert_array_equal(image, pixels())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_gives_three_channels(tmp_path, mode):
    source = Image.fromarray(pixels()).convert(mode)
    suffix = ".tif" if mode == "CMYK" else ".png"
    image = read_image(save(tmp_path / f"a{suffix}", source))
    expected = np.asarray(source.convert("RGB"))
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=1)


def test_grey_is_repeated(tmp_path):
    grey = pixels()[..., 0]
    image = read_image(save(tmp_path / "a.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=2))


def test_alpha_is_dropped_not_composited(tmp_path):
    rgba = np.dstack([pixels(), np.zeros((24, 32), np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", Image.fromarray(rgba))), pixels())


def test_a_half_transparent_palette_is_read_without_a_warning(tmp_path):
    source = Image.new("P", (4, 3))
    source.putpalette([10, 20, 30, 255, 0, 0])
    path = save(tmp_path / "a.png", source, transparency=b"\x40\x80")
    assert (read_image(path) == (10, 20, 30)).all()
    assert read_mask([path]).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_divided_by_257_and_rounded(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", Image.fromarray(SIXTEEN_BIT))
    np.testing.assert_array_equal(read_image(path)[..., 1], EIGHT_BIT)


def test_sixteen_bit_grey_big_endian_and_mode_i(tmp_path):
    with_order = Image.frombytes("I;16B", SIXTEEN_BIT.shape[::-1], SIXTEEN_BIT.astype(">u2").tobytes())
    path = save(tmp_path / "a.tif", with_order)
    np.testing.assert_array_equal(read_image(path)[..., 0], EIGHT_BIT)
    path = save(tmp_path / "b.tif", Image.fromarray(SIXTEEN_BIT.astype(np.int32)))
    np.testing.assert_array_equal(read_image(path)[..., 0], EIGHT_BIT)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_png_gives_its_upper_eight_bits(tmp_path, colour_type, channels):
    rows = b"\0" + np.repeat(SIXTEEN_BIT[0][:, None], channels, axis=1).astype(">u2").tobytes()
    image = read_image(png(tmp_path / "a.png", SIXTEEN_BIT.shape[1], 1, colour_type, rows))
    np.testing.assert_array_equal(image[..., 0], SIXTEEN_BIT >> 8)
    assert np.abs(image[..., 0].astype(int) - EIGHT_BIT).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_tiff_gives_its_upper_eight_bits(tmp_path, order):
    image = read_image(tiff_rgb16(tmp_path / "a.tif", SIXTEEN_BIT, order))
    np.testing.assert_array_equal(image[..., 2], SIXTEEN_BIT >> 8)


def upright(stored, orientation):
    """What the EXIF standard says row 0 and column 0 of the stored picture are."""
    turned = stored.transpose(1, 0, 2) if orientation >= 5 else stored
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.flip(turned, flips.get(orientation, ()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied_once(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = pixels()
    path = save(tmp_path / f"a{suffix}", Image.fromarray(stored), exif=exif)
    image = read_image(path)
    assert read_image_size(path) == image.shape[:2]
    assert read_mask([path]).shape == image.shape[:2]
    if suffix == ".jpg":
        stored = read_image(save(tmp_path / "plain.jpg", Image.fromarray(stored)))
    np.testing.assert_array_equal(image, upright(stored, orientation))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_orientation_of_sixteen_bit_grey(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(SIXTEEN_BIT), exif=exif))
    np.testing.assert_array_equal(image[..., 0], np.rot90(EIGHT_BIT, -1))


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x09"])
def test_broken_metadata_does_not_stop_sound_pixels(tmp_path, exif):
    path = save(tmp_path / "a.jpg", Image.fromarray(pixels()), exif=exif)
    assert read_image(path).shape == (24, 32, 3)
    assert read_image_size(path) == (24, 32)


def test_stereo_jpeg_of_a_phone_gives_its_first_picture(tmp_path):
    first, second = Image.fromarray(pixels()), Image.new("RGB", (32, 24))
    path = save(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[second])
    assert read_image(path).mean() > 50


def test_a_large_picture_is_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 32 - 1)
    assert read_image(save(tmp_path / "a.png", Image.fromarray(pixels()))).shape == (24, 32, 3)


def half(path):
    save(path, Image.fromarray(pixels(64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bomb(path):
    png(path, 20000, 20000, 0, b"", depth=8)


def float_pixels(path):
    save(path, Image.fromarray(np.ones((3, 4), np.float32)))


def wide_integers(path):
    save(path, Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))


BROKEN = [
    ("a.png", half, r"is not whole \(truncated.*; copy it from its source again or remove it"),
    ("a.jpg", half, r"cannot be read: .*truncated.*; copy it"),
    ("a.bmp", half, r"cannot be read: .*truncated.*; copy it"),
    ("a.tif", half, r"is not whole \(truncated.*; copy it"),
    ("a.webp", half, r"cannot be read: .*; copy it"),
    ("a.png", lambda path: path.write_bytes(b""), r"is empty \(0 bytes\); copy it"),
    (
        "a.png",
        lambda path: path.write_text("hello"),
        r"is not a PNG, JPEG, BMP, TIFF, WebP, .* or AVIF image; remove it",
    ),
    ("a.png", lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), r"is not a PNG"),
    ("a.png", lambda path: None, r"does not exist; check the path"),
    ("a.png", lambda path: path.mkdir(), r"is a folder, expected a file; remove it or move it away"),
    ("a.png", bomb, r"has more than 178 million pixels; cut it or scale it down"),
    ("a.tif", float_pixels, r"float pixels \(mode F\).*; save it with 8 or 16 bits"),
    ("a.tif", wide_integers, r"32-bit pixels from 0 to 70000, expected 0 to 65535; save it"),
]


@pytest.mark.parametrize(("name", "make", "message"), BROKEN)
def test_what_cannot_be_read_is_named(tmp_path, name, make, message):
    path = tmp_path / "Prüfling 1" / name
    path.parent.mkdir()
    make(path)
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: {caught.value.problem}; {caught.value.remedy}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), r"a.png: is empty"),
        (lambda path: path.write_text("hello"), r"a.png: is not a PNG"),
        (lambda path: None, r"a.png: does not exist"),
        (bomb, r"a.png: has more than 178 million pixels"),
    ],
)
def test_size_of_what_cannot_be_read_is_named(tmp_path, make, message):
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match=message):
        read_image_size(tmp_path / "a.png")


def test_the_size_needs_the_header_alone(tmp_path):
    half(tmp_path / "a.png")
    assert read_image_size(tmp_path / "a.png") == (64, 64)


def test_the_error_survives_a_worker_process():
    error = ImageFileError("a.png: is empty; copy it", problem="is empty", remedy="copy it")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.problem, copy.remedy) == (str(error), "is empty", "copy it")
    assert str(ImageFileError("message alone")) == "message alone"  # as torch's DataLoader raises it again


def test_threads_read_side_by_side_and_leave_the_warning_filters_alone(tmp_path, recwarn):
    import warnings

    exif = Image.Exif()
    exif[0x0112] = 6
    paths = [save(tmp_path / f"{i}.jpg", Image.fromarray(pixels()), exif=exif) for i in range(30)]
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        shapes = {image.shape for image in pool.map(read_image, paths)}
    assert shapes == {(32, 24, 3)}
    assert warnings.filters == before
    assert not recwarn.list


@pytest.mark.parametrize("value", [1, 3, 85, 236, 255])
def test_any_value_above_zero_is_a_defect(tmp_path, value):
    mask = np.zeros((24, 32), np.uint8)
    mask[4:9, 3:9] = value
    read = read_mask([save(tmp_path / "a.png", Image.fromarray(mask))])
    assert read.dtype == np.bool_
    np.testing.assert_array_equal(read, mask > 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "RGBA"])
def test_masks_of_every_mode(tmp_path, mode):
    mask = np.zeros((24, 32), np.uint8)
    mask[4:9, 3:9] = 1
    if mode == "P":  # as in KolektorSDD: indices 0 and 1 stand for black and white
        source = Image.fromarray(mask)
        source.putpalette([0, 0, 0, 255, 255, 255])
    elif mode == "I;16":  # 1 of 65535
        source = Image.fromarray(mask.astype(np.uint16))
    else:
        source = Image.fromarray(mask * 255).convert(mode)
    np.testing.assert_array_equal(read_mask([save(tmp_path / "a.png", source)]), mask > 0)


def test_several_masks_are_joined_and_must_agree_in_size(tmp_path):
    first, second = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    first[0, 0], second[1, 1] = 236, 236  # added as uint8 they would do no harm here, 20 of them would
    paths = [
        save(tmp_path / "0.png", Image.fromarray(first)),
        save(tmp_path / "1.png", Image.fromarray(second)),
    ]
    assert np.argwhere(read_mask(paths)).tolist() == [[0, 0], [1, 1]]
    paths.append(save(tmp_path / "2.png", Image.fromarray(np.zeros((8, 9), np.uint8))))
    with pytest.raises(DataError, match=r"2.png: mask is 9 x 8 px, but 0.png of the same image is 32 x 24 px"):
        read_mask(paths)
