"""Two Ray nodes, one of which is killed in the middle of scoring and of training."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_every_image_and_category_is_there_once_though_a_node_is_killed(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scale", "nodes", str(tmp_path), "--small"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray says that nodes were lost
    rows = {row["what"]: row for row in map(json.loads, lines)}
    for name, count in (("score", 60), ("train", 2)):
        row = rows[f"{name}, one of two nodes killed"]
        assert row["done_when_killed"] >= 1
        assert (row["asked"], row["there"], row["twice"]) == (count, count, 0)
