import os
import subprocess
import sys
from pathlib import Path

import pytest

from cavga.atomic_files import NotWrittenError, atomic_write, atomic_writer, written_together
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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no devices in folders")
def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(NotWrittenError, match=r"cannot write .*: there is a (named pipe|device)"):
            atomic_write(path, b"text")
    assert Path("/dev/null").is_char_device()


def old_and_new(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if not path.name.endswith(".tmp")}


def write_set(folder, text):
    with written_together() as files:
        atomic_write(folder / "lines", text)
        atomic_write(folder / "page", text)
        if text == b"new":
            files.remove(folder / "counts")
        else:
            atomic_write(folder / "counts", text)
        atomic_write(folder / "last", text)
        assert set(files.hashes()) >= {"lines", "page", "last"}


def test_files_that_are_written_together_appear_together(tmp_path):
    write_set(tmp_path, b"old")
    with written_together():
        atomic_write(tmp_path / "page", b"new")
        assert (tmp_path / "page").read_text() == "old"
    write_set(tmp_path, b"new")
    assert old_and_new(tmp_path) == dict.fromkeys(("lines", "page", "last"), "new")


def test_a_set_that_fails_leaves_the_old_one(tmp_path):
    write_set(tmp_path, b"old")
    (tmp_path / "folder").mkdir()

    def fail():
        with written_together():
            atomic_write(tmp_path / "page", b"new")
            atomic_write(tmp_path / "folder", b"new")

    with pytest.raises(NotWrittenError, match="folder: there is a folder"):
        fail()
    (tmp_path / "folder").rmdir()
    assert old_and_new(tmp_path) == dict.fromkeys(("lines", "page", "counts", "last"), "old")
    assert len(list(tmp_path.iterdir())) == 4


KILLED = """
import os, pathlib, signal, sys
from tests.test_atomic_files import write_set
folder, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def counted(function):
    def call(*arguments, **options):
        global steps
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
        return function(*arguments, **options)
    return call
pathlib.Path.unlink, pathlib.Path.replace = counted(pathlib.Path.unlink), counted(pathlib.Path.replace)
os.fsync = counted(os.fsync)
write_set(folder, b"new")
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_old_and_new_never_stand_side_by_side_whenever_the_writer_is_killed(tmp_path):
    for steps in range(20):
        folder = tmp_path / str(steps)
        write_set(folder, b"old")
        command = [sys.executable, "-c", KILLED, str(folder), str(steps)]
        done = subprocess.run(command, check=False, cwd=Path(__file__).parents[1])
        found = old_and_new(folder)
        assert len(set(found.values())) <= 1
        if "last" in found:
            assert len(found) == (4 if found["last"] == "old" else 3)
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert steps > 8


def test_an_interruption_while_a_set_appears_lets_it_appear(tmp_path, monkeypatch):
    write_set(tmp_path, b"old")
    replace, calls = Path.replace, []

    def interrupted(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path, b"new")
    assert old_and_new(tmp_path) == dict.fromkeys(("lines", "page", "last"), "new")
