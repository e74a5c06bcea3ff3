import os
import signal
import subprocess
import sys

import pytest

from cavga.errors import ModelFileError, UsageError
from cavga.inference.detector import AnomalyDetector
from cavga.marking.marks import mark_photographs, said_of
from cavga.marking.refit import refit
from cavga.marking.versions import use_version, versions_of
from cavga.runs.marks_file import GOOD
from cavga.runs.model_json import MODEL_FILE, VERSIONS_FOLDER, load_description

# A refit that is killed where it calls a function, or between the old files and the new ones of the version in use.
KILLED = """
import os, signal, sys
from cavga.marking import refit
from cavga.atomic_files import FilesTogether

def kill(*_args, **_settings):
    os.kill(os.getpid(), signal.SIGKILL)

def half(files):
    for path in files.waiting:
        path.unlink(missing_ok=True)
    kill()

if sys.argv[2] == "renames":
    FilesTogether.appear = half
else:
    setattr(refit, sys.argv[2], kill)
refit.export_refitted = lambda *_args, **_settings: None
refit.refit(sys.argv[1])
"""


def killed(run, where):
    done = subprocess.run([sys.executable, "-c", KILLED, str(run), where], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture
def marked(run, photographs, monkeypatch):
    monkeypatch.setattr("cavga.marking.refit.export_refitted", lambda *_args, **_settings: None)
    mark_photographs(run, said_of([photographs / "good"], GOOD))
    return run


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
@pytest.mark.parametrize("where", ["save_model", "switch"])
def test_a_refit_that_is_killed_leaves_the_version_in_use(marked, photographs, where):
    files = {path.name: path.read_bytes() for path in marked.iterdir() if path.suffix in (".json", ".safetensors")}
    killed(marked, where)
    assert {name: (marked / name).read_bytes() for name in files} == files
    assert AnomalyDetector.load(marked)(photographs / "good/0.png").score is not None
    refit(marked)  # and the next one works
    assert versions_of(marked)[-1].is_in_use
    assert not [path for path in (marked / VERSIONS_FOLDER).iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_change_that_is_killed_midway_says_how_to_end_it(marked):
    killed(marked, "renames")
    with pytest.raises(ModelFileError, match="version 001 was interrupted"):
        AnomalyDetector.load(marked)
    use_version(marked, "001")
    assert versions_of(marked)[-1].is_in_use


def test_a_version_that_is_not_there_is_one_line(marked):
    with pytest.raises(UsageError, match=r"no version 007: .*never refitted"):
        use_version(marked, "007")
    refit(marked)
    with pytest.raises(UsageError, match="000, 001"):
        use_version(marked, "007")


def test_an_interrupted_change_is_named_and_ended(marked):
    refit(marked)
    (marked / MODEL_FILE).unlink()
    (marked / VERSIONS_FOLDER / "switching").write_text("000", encoding="ascii")
    with pytest.raises(ModelFileError, match=r"version 000 was interrupted: `cavga use .* 000` ends it"):
        AnomalyDetector.load(marked)
    use_version(marked, "000")
    assert [version.number for version in versions_of(marked) if version.is_in_use] == ["000"]
    assert load_description(marked)["calibration"]
