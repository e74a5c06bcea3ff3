import io

import numpy as np
import pytest
from PIL import Image

from cavga.errors import DataError
from cavga.projects.photographs import copy_photographs, file_name, picture, store_photograph
from tests.conftest import save_image, texture


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(texture(seed)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("a.png", "a.png"),
        ("C:\\photos\\a.PNG", "a.PNG"),
        ("../../etc/a.png", "a.png"),
        ("/etc/a.png", "a.png"),
        ("..png", "png"),
        (".hidden.png", "hidden.png"),
        ("a\nb\0c.png", "a_b_c.png"),
        ("Prüf teil #3.png", "Prüf teil #3.png"),
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        ("x" * 400 + ".jpeg", "x" * 175 + ".jpeg"),
        ("ü" * 400 + ".jpeg", "ü" * 87 + ".jpeg"),
    ],
)
def test_a_name_keeps_what_can_stay_of_it(given, stored):
    if "." not in stored:
        with pytest.raises(DataError):
            file_name(given)
    else:
        assert file_name(given) == stored


@pytest.mark.parametrize("given", ["", ".", "..", "a", "a.txt", "a.svg", "a.html", "a.heic", "a.png/", ".png"])
def test_what_is_not_named_as_a_photograph_is_refused(given):
    with pytest.raises(DataError, match=r"expected \.png"):
        file_name(given)


def test_the_same_is_stored_once_and_others_get_numbers(tmp_path):
    assert store_photograph(tmp_path, "a.png", png(1)).is_new
    assert not store_photograph(tmp_path, "a.png", png(1)).is_new
    assert store_photograph(tmp_path, "A.png", png(2)).name == "A-2.png"
    assert not store_photograph(tmp_path, "a.png", png(2)).is_new
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "A-2.png"}


def test_what_cannot_be_read_is_not_stored(tmp_path):
    for content in (b"", b"x", png(1)[:60]):
        with pytest.raises(DataError, match=r"^a\.png"):
            store_photograph(tmp_path, "a.png", content)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_copied_and_what_cannot_be_is_named(tmp_path):
    root = tmp_path / "projects"
    source, target = root / "incoming", root / "part/good"
    for i in range(3):
        save_image(source / f"deep/{i}.png", texture(i))
    (source / "damaged.png").write_bytes(b"x")

    def check(_content: bytes, name: str) -> None:
        if name == "deep/2.png":
            raise DataError(f"{name}: is too large")

    done = copy_photographs(source, root, target, check)
    assert (done.num_new, done.num_known) == (2, 0)
    assert [text.partition(":")[0] for text in done.refused] == ["damaged.png", "deep/2.png"]
    assert copy_photographs(source, root, target, check).num_known == 2
    assert sorted(path.name for path in target.iterdir()) == ["0.png", "1.png"]


def test_a_picture_is_a_jpeg_of_what_the_model_sees(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((30, 60), 40_000, dtype=np.uint16)).save(path)
    whole, small = (Image.open(io.BytesIO(picture(path, side))) for side in (None, 20))
    assert (whole.format, whole.mode, whole.size, small.size) == ("JPEG", "RGB", (60, 30), (20, 10))
    assert abs(int(np.asarray(whole).mean()) - 156) < 2
