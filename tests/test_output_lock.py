import os
import subprocess
import sys
import threading

import pytest

from cavga.atomic_files import NotWrittenError, temporary_of
from cavga.errors import CavgaError
from cavga.output_lock import LOCK_FILE, BusyError, writing_file, writing_to

HOLD = """
import sys, time
from pathlib import Path
from cavga.output_lock import writing_to
with writing_to(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path/out."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_one_hears_who_holds_it_and_gets_it_when_the_first_is_killed(holder, tmp_path):
    with (
        pytest.raises(BusyError, match=f"is being written to by process {holder.pid}: wait"),
        writing_to(tmp_path / "out"),
    ):
        pass
    with writing_to(tmp_path / "elsewhere"):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / "out" / LOCK_FILE).exists()
    with writing_to(tmp_path / "out"):
        assert (tmp_path / "out" / f"{LOCK_FILE}.pid").read_text() == str(os.getpid())


def test_nothing_is_left_but_what_was_written(tmp_path):
    with writing_to(tmp_path / "a/b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with writing_to(tmp_path / "a/b"):
        (tmp_path / "a/b/result").write_bytes(b"")
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["result"]


def test_who_holds_it_may_lock_it_again_and_another_thread_may_not(tmp_path):
    found = []

    def try_it():
        try:
            with writing_to(tmp_path / "out"):
                found.append("got it")
        except CavgaError as error:
            found.append(str(error))

    with writing_to(tmp_path / "out"):
        with writing_to(tmp_path / "out"):
            pass
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert str(os.getpid()) in found[0]


def test_two_files_of_one_folder_are_written_at_once_and_one_file_is_not(tmp_path):
    found = []

    def try_both():
        for name in ("b.onnx", "a.onnx"):
            try:
                with writing_file(tmp_path / name):
                    found.append(name)
            except BusyError:
                found.append("busy")

    with writing_file(tmp_path / "a.onnx"):
        thread = threading.Thread(target=try_both)
        thread.start()
        thread.join()
    assert found == ["b.onnx", "busy"]
    assert list(tmp_path.iterdir()) == []


def test_what_dead_writers_left_is_removed_and_nothing_else(tmp_path):
    kept = [tmp_path / ".hidden", tmp_path / "a.tmp", tmp_path / ".0123.tmp"]
    for path in kept:
        path.write_bytes(b"")
    gone = [temporary_of(tmp_path / "model.json"), temporary_of(tmp_path / "maps/deep/1.tiff")]
    other = temporary_of(tmp_path / "mine/elsewhere.json")
    for path in (*gone, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    temporary_of(tmp_path / "bundle").mkdir()
    with writing_to(tmp_path, below=["maps"]):
        assert not any(path.exists() for path in gone)
        assert sorted(path.name for path in tmp_path.glob(".*.tmp")) == [".0123.tmp"]
    assert all(path.exists() for path in (*kept, other))
    mine, others = temporary_of(tmp_path / "a.onnx"), temporary_of(tmp_path / "b.onnx")
    for path in (mine, others):
        path.write_bytes(b"")
    with writing_file(tmp_path / "a.onnx"):
        assert (mine.exists(), others.exists()) == (False, True)


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(NotWrittenError, match=r"cannot write to .*file/out: Not a directory"),
        writing_to(tmp_path / "file/out"),
    ):
        pass
