"""An evaluation is one set of files: whole, of one run of `cavga evaluate`, or not there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cavga.errors import DataError
from cavga.evaluation.evaluate import evaluate
from cavga.evaluation.written import read_evaluation
from tests.conftest import run_command

NAMES = {"metrics.json", "predictions.jsonl", "pixel_counts.npz", "report.html"}


def test_metrics_say_what_they_were_written_with_and_a_mixture_is_noticed(run_folder, category, tmp_path):
    metrics = evaluate(run_folder, category, tmp_path / "a", device="cpu").metrics
    assert {path.name for path in (tmp_path / "a").iterdir()} == NAMES
    files = json.loads((tmp_path / "a/metrics.json").read_bytes())["files"]
    assert json.loads((tmp_path / "a/metrics.json").read_bytes()) == {**metrics, "files": files}
    assert set(files) == NAMES - {"metrics.json"}
    assert len(read_evaluation(tmp_path / "a").images) == 8
    for name in ("predictions.jsonl", "pixel_counts.npz"):
        mixed = shutil.copytree(tmp_path / "a", tmp_path / name.replace(".", "-"))
        (mixed / name).write_bytes((mixed / name).read_bytes() + b" ")
        with pytest.raises(DataError, match=rf"{name} is not of the evaluation that metrics.json is of"):
            read_evaluation(mixed)
    # Of an earlier version, which says nothing of its files.
    (tmp_path / "a/metrics.json").write_text(json.dumps(metrics))
    assert len(read_evaluation(tmp_path / "a").images) == 8


KILLED = """
import os, pathlib, signal, sys
from cavga.cli.main import main
steps = int(sys.argv.pop(1))
def counted(function):
    def call(path, *arguments, **options):
        global steps
        if path.name in ("metrics.json", "report.html", "predictions.jsonl", "pixel_counts.npz") or ".tmp" in path.name:
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            steps -= 1
        return function(path, *arguments, **options)
    return call
pathlib.Path.unlink, pathlib.Path.replace = counted(pathlib.Path.unlink), counted(pathlib.Path.replace)
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("steps", [0, 2, 5, 7])
def test_a_kill_leaves_no_mixture_and_the_next_one_clears_up(exported_run, category, tmp_path, steps):
    output = tmp_path / "out"
    evaluate(exported_run, category, output, device="cpu")
    for name in NAMES:  # another one's
        (output / name).write_bytes(b"old")
    command = [sys.executable, "-c", KILLED, str(steps), "evaluate", exported_run, category, "--output", output]
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    found = {path.name: path.read_bytes() for path in output.iterdir() if path.name in NAMES}
    assert len({content == b"old" for content in found.values()}) <= 1
    assert "metrics.json" not in found or set(found) == NAMES
    assert list(output.glob(".*.tmp"))
    evaluate(exported_run, category, output, device="cpu")
    assert {path.name for path in output.iterdir()} == NAMES


def test_a_photograph_that_goes_after_it_was_scored_is_named_and_the_rest_is_done(
    run_folder, category, capsys, tmp_path, monkeypatch
):
    data = shutil.copytree(category, tmp_path / "data")

    def removing(*arguments, **options):
        (data / "test/square/000.png").unlink()
        return make_section(*arguments, **options)

    from cavga.evaluation.sections import make_section

    monkeypatch.setattr("cavga.evaluation.evaluate.make_section", removing)
    code, _, err = run_command(capsys, "evaluate", run_folder, data, "--output", tmp_path / "out")
    assert code == 4
    assert "test/square/000.png: does not exist" in err
    assert "it was scored, and is not shown" in err
    assert {path.name for path in Path(tmp_path / "out").iterdir()} == NAMES
