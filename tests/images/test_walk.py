import os

import pytest

from cavga.errors import DataError
from cavga.images.walk import IMAGE_SUFFIXES, find_images, passed_over, subfolders, walk_images


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names_of(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_find_images_is_recursive_sorted_and_leaves_out_hidden_and_other_files(tmp_path):
    names = [
        "b.png",
        "a.JPG",
        "sub/c.tiff",
        "sub/10.webp",
        ".hidden.png",
        ".git/d.png",
        "readme.txt",
        "Thumbs.db",
        "x.npy",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.JPG", "b.png", "sub/10.webp", "sub/c.tiff"]


def test_images_are_sorted_by_their_whole_paths(tmp_path):
    # A slash sorts after a full stop and a hyphen and before a digit.
    names = ["a.png", "a-b.png", "a/x.png", "a/b/x.png", "a/b.png", "a0.png", "a.b/x.png", "a-b/x.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == sorted(names)


def test_walking_holds_no_more_than_it_has_come_to(tmp_path):
    for name in ("a/0.png", "b/0.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    walk = walk_images(tmp_path)
    assert next(walk) == tmp_path / "a/0.png"
    (tmp_path / "b/1.png").write_bytes(b"")  # not looked at yet
    assert [path.name for path in walk] == ["0.png", "1.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_find_images_follows_links_but_not_in_circles(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data", target_is_directory=True)
    assert [path.name for path in find_images(tmp_path / "data")] == ["a.png"]


def test_find_images_in_no_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: folder cannot be read"):
        find_images(tmp_path / "nowhere")


def test_every_suffix_that_is_read_is_found_in_any_case(tmp_path):
    names = [f"{i:02}{suffix}" for i, suffix in enumerate((*IMAGE_SUFFIXES, ".JFIF", ".Gif"))]
    touch(tmp_path, *names)
    assert names_of(tmp_path, walk_images(tmp_path)) == names
    assert passed_over(tmp_path) == []
    assert {".jfif", ".jpe", ".gif", ".ppm", ".pgm"} <= set(IMAGE_SUFFIXES)


def test_what_is_not_read_is_named_with_its_reason(tmp_path):
    touch(tmp_path, "a.png", "b.HEIC", "sub/c.heif", "d.mp4", "e.qoi", "photo", "readme.txt", "a.json", "img.npy")
    found = {path: item.reason for item in passed_over(tmp_path) for path in names_of(tmp_path, [item.path])}
    assert list(found) == ["b.HEIC", "d.mp4", "e.qoi", "photo", "sub/c.heif"]
    assert found["b.HEIC"].startswith("is a HEIC photograph, which is not read; save")
    assert found["d.mp4"].startswith("is a video")
    assert found["e.qoi"].startswith("ends in .qoi")
    assert found["photo"].startswith("has no suffix")


def test_what_systems_leave_behind_is_neither_read_nor_named(tmp_path):
    junk = ["@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._a.png", "#recycle/old.png", "$RECYCLE.BIN/x.jpg"]
    touch(tmp_path, "a.png", *junk, "Thumbs.db", ".DS_Store", "sub/desktop.ini", ".thumbnails/a.png")
    assert names_of(tmp_path, find_images(tmp_path)) == ["a.png"]
    assert passed_over(tmp_path) == []
    assert names_of(tmp_path, subfolders(tmp_path)) == ["sub"]


def test_a_folder_of_thumbnails_is_left_out_and_named(tmp_path):
    touch(tmp_path, "a.png", "Thumbs/a.png", "thumbnails/b.png")
    assert names_of(tmp_path, find_images(tmp_path)) == ["a.png"]
    found = passed_over(tmp_path)
    assert names_of(tmp_path, [item.path for item in found]) == ["Thumbs", "thumbnails"]
    assert "rename it to use what is in it" in found[0].reason


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_second_link_to_one_folder_is_walked_too(tmp_path):
    touch(tmp_path, "shift/0.png")
    (tmp_path / "again").symlink_to("shift")
    (tmp_path / "tomorrow").symlink_to("shift")
    assert names_of(tmp_path, find_images(tmp_path)) == ["again/0.png", "shift/0.png", "tomorrow/0.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_upon_links_end_with_a_message(tmp_path):
    for depth in range(30):
        (tmp_path / f"{depth}").mkdir()
        for name in "ab":
            (tmp_path / f"{depth}" / name).symlink_to(f"../{depth + 1}")
    (tmp_path / "30").mkdir()
    with pytest.raises(DataError, match="links lead to the same folders again and again"):
        find_images(tmp_path / "0")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_to_nothing_is_not_dropped(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert names_of(tmp_path, find_images(tmp_path)) == ["gone.png"]
