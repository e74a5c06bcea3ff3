import os
import socket
from pathlib import Path

import pytest

import cavga
from cavga.regular_files import NotRegularError, open_regular, read_regular, real_path


def test_a_file_and_a_link_to_it_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "a") == read_regular(tmp_path / "b") == b"content"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    words = {"pipe": "named pipe", "link": "named pipe", "socket": "socket", ".": "folder", "/dev/zero": "device"}
    for name, word in words.items():
        with pytest.raises(NotRegularError, match=word), open_regular(tmp_path / name):
            pass


def test_what_is_missing_stays_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")


def test_a_path_whose_links_lead_in_a_circle_has_a_real_path(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert real_path(tmp_path / "loop").parent == real_path(tmp_path)


def test_nothing_else_resolves_links():  # Path.resolve ends in a traceback where links lead in a circle
    sources = Path(cavga.__file__).parent.rglob("*.py")
    assert not [path for path in sources if ".resolve(" in path.read_text(encoding="utf-8")]
