import errno
import os
from pathlib import Path

import pytest

from cavga.atomic_files import atomic_write, atomic_writer, refuse_unwritable
from cavga.errors import CavgaError


def test_writes_content_and_creates_parent_folders(tmp_path):
    path = tmp_path / "Läufe 1" / "a" / "model.json"
    atomic_write(path, b"\x00\xffabc")
    assert path.read_bytes() == b"\x00\xffabc"
    assert [p.name for p in path.parent.iterdir()] == ["model.json"]


def test_replaces_what_was_there(tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "model.json"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(CavgaError, match=r"cannot write .*model.json: No space left on device; free space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_passes_through_and_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "model.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(CavgaError, match=r"cannot write .*model.json"):
        atomic_write(tmp_path / "runs" / "model.json", b"new")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_the_file_has_the_rights_that_open_would_give(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    written: Path = tmp_path / "written"
    atomic_write(written, b"")
    assert written.stat().st_mode == plain.stat().st_mode


def test_a_file_in_parts_appears_at_the_end(tmp_path):
    path = tmp_path / "new" / "lines.jsonl"
    with atomic_writer(path) as file:
        file.write(b"a")
        file.flush()
        assert not path.exists()
        assert [other.read_bytes() for other in path.parent.iterdir()] == [b"a"]
        file.write(b"b")
    assert path.read_bytes() == b"ab"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, CavgaError])
def test_a_block_that_fails_leaves_the_old_file_and_its_own_error(tmp_path, error):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(error), atomic_writer(path) as file:
        fail(file)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_on_the_way_is_named_and_another_files_error_is_its_own(tmp_path):
    with (
        pytest.raises(CavgaError, match=r"cannot write .*lines.jsonl: No space left"),
        atomic_writer(tmp_path / "lines.jsonl"),
    ):
        raise OSError(28, "No space left on device")  # as a write does it: without a name
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_writer(tmp_path / "lines.jsonl"):
        (tmp_path / "elsewhere").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_refused_before_work_is_done(tmp_path, monkeypatch):
    refuse_unwritable(tmp_path / "new/folder")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(CavgaError, match="cannot write into"):
        refuse_unwritable(tmp_path / "file/folder")

    def refused(*_arguments, **_named):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(CavgaError, match="Read-only file system"):
        refuse_unwritable(tmp_path)
