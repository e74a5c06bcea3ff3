"""Whatever the streams are, a command ends as it would have, and says what can be said."""

import json
import os
import subprocess
import sys

import pytest

from cavga.cli.console import SafeStream
from tests.conftest import save_image, texture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams are closed by a shell")
CAVGA = f"{sys.executable} -m cavga"


@pytest.fixture
def photographs(tmp_path):
    """Names in Cyrillic, with an escape, a new line, and bytes that are not UTF-8; one file is damaged."""
    folder = tmp_path / "photographs"
    for i, name in enumerate(("\u0434\u0435\u0442\u0430\u043b\u044c", "esc\x1b[31mred", "two\nlines", "plain")):
        save_image(folder / f"{name}.png", texture(i))
    (folder / os.fsdecode(b"Gr\xfc\xdfe.png")).write_bytes((folder / "plain.png").read_bytes())
    (folder / "cut\x1b[2J\n.png").write_bytes(b"no image")
    return folder


def shell(command, **environment):
    return subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True, check=False, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "redirection", ["> /dev/full", ">&-", "2> /dev/full", "2>&-", ">&- 2>&-", "> /dev/full 2> /dev/full", "<&- | true"]
)
@pytest.mark.parametrize("flag", ["", "--json"])
def test_check_ends_as_it_would_have(photographs, redirection, flag):
    done = shell(f"{CAVGA} check {photographs} {flag} {redirection}")
    assert done.returncode == (0 if "|" in redirection else 3)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if redirection == "> /dev/full":
        assert b"cavga: not everything could be printed: No space left on device" in done.stderr
    if redirection.startswith("2>"):
        assert json.loads(done.stdout) if flag else done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_leave_in_a_printable_form_and_exact_in_json(photographs, encoding):
    done = shell(f"{CAVGA} check {photographs}", PYTHONUTF8="0", PYTHONIOENCODING=encoding)
    assert done.returncode == 3
    text = done.stdout.decode(encoding)
    assert "cut\\x1b[2J\\n.png" in text
    assert all(character.isprintable() or character == "\n" for character in text)
    shown = shell(f"{CAVGA} check {photographs} --json", PYTHONUTF8="0", PYTHONIOENCODING=encoding)
    names = {finding["path"].split("/")[-1] for finding in json.loads(shown.stdout)["findings"]}
    assert "cut\x1b[2J\n.png" in names


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_predict_prints_json_and_nothing_else(exported_model, photographs, tmp_path, redirection):
    done = shell(f"{CAVGA} predict {exported_model} {photographs} --output {tmp_path}/p --json {redirection}")
    assert done.returncode == 4
    result = json.loads(done.stdout)
    assert (result["images"], result["failed"]) == (6, 1)
    lines = [json.loads(line) for line in (tmp_path / "p/predictions.jsonl").read_bytes().splitlines()]
    assert {line["path"] for line in lines} == {str(path) for path in photographs.iterdir()}


def test_a_file_that_is_opened_does_not_take_the_place_of_a_closed_stream(exported_model, photographs, tmp_path):
    done = shell(f"{CAVGA} predict {exported_model} {photographs} --output {tmp_path}/p >&- 2>&-")
    assert done.returncode == 4
    lines = (tmp_path / "p/predictions.jsonl").read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == 6


def test_predict_says_names_in_a_printable_form(exported_model, photographs, tmp_path):
    output = tmp_path / os.fsdecode(b"\xff\x1b[1m")
    command = [sys.executable, "-m", "cavga", "predict", exported_model, photographs, "--output", output, "--overlays"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 4, done.stderr
    assert b"\\xff\\x1b[1m/predictions.jsonl" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(list((output / "overlays").iterdir())) == 5


def test_a_stream_says_once_why_it_fell_silent():
    class Full:
        encoding = "ascii"

        def write(self, _text):
            raise OSError(28, "No space left on device")

    stream = SafeStream(Full())
    assert stream.write("\u00e9") == 1
    assert stream.write("more") == 4
    assert stream.failure == "No space left on device"
