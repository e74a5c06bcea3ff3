"""docs/service.md: what it shows runs against a real server, and its limits are those of the code."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cavga.cli.main import parse
from cavga.service.settings import MIB, ServiceSettings
from tests.conftest import GOLDEN
from tests.service.running import running

PAGE = Path(__file__).parents[2] / "docs/service.md"
TEXT = PAGE.read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.S | re.M)
CURLS = re.findall(r"^\$ (curl .*)$", TEXT, re.M)


@pytest.fixture(scope="module")
def server():
    with running({"screw": GOLDEN, "nut": GOLDEN}) as found:
        yield found


@pytest.fixture
def part(spot, tmp_path, monkeypatch):
    (tmp_path / "part.png").write_bytes(spot)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("number", range(2))
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # files that snippets leave open, for brevity
def test_its_python_runs(server, capsys, number):
    assert len(SNIPPETS) == 2
    code = SNIPPETS[number].replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    exec(compile(code, PAGE.name, "exec"), {})
    assert re.search(r"\d+\.\d+", capsys.readouterr().out)


@pytest.mark.usefixtures("part")
@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize("line", CURLS)
def test_its_curl_lines_run(server, line):
    words = shlex.split(line.replace("http://127.0.0.1:8000", server.url))
    done = subprocess.run([*words, "--silent", "--fail"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"is_anomalous" in done.stdout or Path("overlay.png").is_file()


def test_its_table_of_limits_has_the_defaults():
    flags, settings = parse(["serve", "runs/screw"]), ServiceSettings()
    assert (flags.max_body_mb * MIB, flags.max_megapixels * 1e6) == (settings.max_body_bytes, settings.max_pixels)
    same = ("deadline", "queue", "max_models", "host", "port")
    assert all(getattr(flags, name) == getattr(settings, name) for name in same)
    for flag, value in (("--max-body-mb", "32 MiB"), ("--max-megapixels", "50"), ("--deadline", "10 s"),
                        ("--queue", "64"), ("--max-models", "4")):  # fmt: skip
        assert f"| `{flag}` | {value} |" in TEXT


def test_its_table_of_metrics_names_those_that_there_are(server):
    there = set(re.findall(r"^# TYPE (\S+)", server.client.get("/metrics").text, re.M))
    assert set(re.findall(r"`(cavga_\w+)`", TEXT)) <= there
