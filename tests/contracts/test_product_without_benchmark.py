"""The product stands without the paper's tables: a copy without benchmark/ trains, evaluates, predicts and exports."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cavga
from tests.conftest import write_category

ALL = """
import sys
import cavga.training.train
from cavga.cli.main import main

cavga.training.train._export = lambda _run, **_named: None  # it is done below, once
data, run, output = sys.argv[1:]
small = ["--variant", "d-u", "--image-size", "32", "--decoder-width", "8", "--latent-channels", "8", "--device", "cpu"]
for command in (
    ["train", data, "--output", run, "--epochs", "1", "--batch-size", "6", *small],
    ["evaluate", run, data],
    ["export", run, "--format", "torch", "--output", run + "/model.pt2"],
    ["predict", run, data + "/test", "--output", output],
):
    assert main(command) == 0, command
assert main(["benchmark", "textures", "--output", output]) == 2
assert not any(name.startswith("cavga.benchmark") for name in sys.modules)
"""


def test_a_copy_without_the_papers_tables_does_everything_else(tmp_path):
    package = tmp_path / "src/cavga"
    shutil.copytree(Path(cavga.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(package / "benchmark")
    (package / "cli/commands/benchmark.py").unlink()
    data = write_category(tmp_path / "data", num_train=8, num_good=2, num_bad=2)
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    run, output = tmp_path / "run", tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", ALL, data, run, output],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "unknown command 'benchmark'" in done.stderr
    for written in (run / "metrics.json", run / "report.html", run / "model.pt2", output / "predictions.jsonl"):
        assert written.is_file()
