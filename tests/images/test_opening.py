import ast
import os
import socket
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cavga.errors import DataError
from cavga.images.decode import read_image, read_image_size
from cavga.images.masks import read_mask
from cavga.images.opening import ImageFileError

SOURCE = Path(__file__).parents[2] / "src" / "cavga"


def test_images_are_opened_in_one_place():
    for path in SOURCE.rglob("*.py"):
        if path == SOURCE / "images/opening.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_open = isinstance(node, ast.Attribute) and ast.unparse(node).endswith("Image.open")
            is_import = isinstance(node, ast.ImportFrom) and node.module == "PIL.Image"
            opens = is_open or is_import
            assert not opens, f"{path}: line {node.lineno} opens an image by itself"


def png(path, width, height, rows=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def tiff(path, width, height, *, tile=None, num_parts=1, compression=8, rows=None, count=40):
    """A grey TIFF of so many parts that all lie at one place."""
    data = zlib.compress(bytes(256))
    after = 8 + 2 + 12 * 11 + 4
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1), (277, 3, 1)]
    offsets, sizes = after + len(data), after + len(data) + 4 * num_parts
    if tile:
        tags += [(322, 4, tile), (323, 4, tile), (324, 4, offsets), (325, 4, sizes)]
    else:
        tags += [(273, 4, offsets), (278, 4, rows), (279, 4, sizes)]
    body = b"".join(
        struct.pack("<HHII", tag, kind, num_parts if tag in (273, 279, 324, 325) else 1, value)
        for tag, kind, value in sorted(tags)
    )
    lists = struct.pack(f"<{num_parts}I", *[after] * num_parts) + struct.pack(f"<{num_parts}I", *[count] * num_parts)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", 0)
    path.write_bytes(head.ljust(after, b"\0") + data + lists)


def jpeg_of_one_block(path):
    Image.new("L", (8, 8)).save(path, "JPEG")
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 12000, 12000)
    path.write_bytes(content)


def gif_of_a_corner(path):
    Image.new("P", (8, 8)).save(path, "GIF")
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 12000, 12000)
    path.write_bytes(content)


BOMBS = {
    "a column.png": (lambda path: png(path, 1, 100_000_000), r"is 1 x 100000000 px, where at most"),
    "a row.png": (lambda path: png(path, 400_000, 2), r"is 400000 x 2 px, where at most"),
    "huge.png": (lambda path: png(path, 60000, 60000), r"has more than 178 million pixels"),
    "few tiles.tif": (lambda path: tiff(path, 13000, 13000, tile=16, num_parts=1000), r"is not whole"),
    "few strips.tif": (lambda path: tiff(path, 13000, 13000, rows=1, num_parts=1000), r"is not whole"),
    "empty strips.tif": (lambda path: tiff(path, 64, 64, rows=32, num_parts=2, count=0), r"is not whole"),
    "raw.tif": (lambda path: tiff(path, 13000, 13000, rows=13000, compression=1), r"is not whole"),
    "one wide tile.tif": (lambda path: tiff(path, 16, 16, tile=2**16, num_parts=1), r"is cut into tiles of 65536"),
    "one block.jpg": (jpeg_of_one_block, r"is not whole"),
    "a corner.gif": (gif_of_a_corner, r"is not whole|is cut"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_too_much_or_is_not_whole_is_refused_at_once(tmp_path, name):
    make, message = BOMBS[name]
    path = tmp_path / name
    make(path)
    started = time.monotonic()
    tracemalloc.start()
    try:
        for read in (read_image, read_image_size, lambda path: read_mask([path])):
            with pytest.raises(ImageFileError, match=message):
                read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2000, 100), (1, 10_000)])
def test_long_photographs_are_read(tmp_path, size):
    Image.new("L", size, 7).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (size[1], size[0], 3)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "I;16"])
def test_whole_tiffs_are_read(tmp_path, mode, compression):
    picture = Image.fromarray(np.full((200, 300), 9, np.uint16)) if mode == "I;16" else Image.new(mode, (300, 200))
    if compression == "jpeg" and mode != "RGB":
        pytest.skip("JPEG holds no such pixels")
    picture.save(tmp_path / "a.tif", compression=compression)
    assert read_image(tmp_path / "a.tif").shape == (200, 300, 3)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "a folder"])
def test_what_is_no_file_is_named_at_once(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    path = Path("a.png")
    if kind == "a named pipe":
        os.mkfifo("pipe")
        path.symlink_to("pipe")
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind("a.png")
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for read in (read_image, read_image_size, lambda path: read_mask([path])):
        with pytest.raises(DataError, match=rf"^a.png: is {kind}, expected a file"):
            read(path)


def test_a_png_with_another_pixel_than_its_checksum_says_is_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path, compress_level=0)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 12] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match="a checksum in it is wrong"):
        read_image(path)
