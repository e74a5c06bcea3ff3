"""How long `cavga refit` takes, and how much memory: python -m benchmarks.refit RUN BAD_FOLDER GOOD_FOLDER [--keep].

RUN is one that can be refitted, of about 300 photographs at 256 px; it is copied, and left as it is. Five photographs
of BAD_FOLDER are marked bad and three of GOOD_FOLDER good. Each refit is a process of its own, three of each kind in
turn, and writes model.onnx anew: that is part of its time.
--keep writes benchmarks/results/refit.jsonl.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.result_files import write_result

NUM_BAD, NUM_GOOD, REPEATS = 5, 3, 3
KINDS = {"bad marks": False, "bad and good marks": True}


def main() -> None:
    """Print a row a kind, and keep them if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("bad", type=Path)
    parser.add_argument("good", type=Path)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    bad, good = (sorted(folder.iterdir())[:n] for folder, n in ((args.bad, NUM_BAD), (args.good, NUM_GOOD)))
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(REPEATS):
        for kind, has_good in KINDS.items():
            seconds[kind].append(_seconds_of_a_refit(args.run, bad, good if has_good else []))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    rows = [_row(args.run, kind, found, peak) for kind, found in seconds.items()]
    for row in rows:
        print(json.dumps(row))
    if args.keep:
        write_result("refit", {"table": "refit", "cores": os.cpu_count(), "rows": rows})


def _row(run: Path, kind: str, seconds: list[float], peak: int) -> dict[str, Any]:
    description = json.loads((run / "model.json").read_text(encoding="utf-8"))
    return {
        "kind": kind, "images": description["provenance"]["train"],
        "size": description["config"]["data"]["image_size"], "exported": True, "seconds": round(median(seconds), 1),
        "all_seconds": [round(value, 1) for value in seconds], "peak_mib_of_all": peak,
    }  # fmt: skip


def _seconds_of_a_refit(run: Path, bad: list[Path], good: list[Path]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(run, Path(folder) / "run"))
        _cavga("mark", copy, *bad, "--bad")
        if good:
            _cavga("mark", copy, *good, "--good")
        exported, before = copy / "model.onnx", _content(copy / "model.onnx")
        start = time.monotonic()
        _cavga("refit", copy, "--force")
        seconds = time.monotonic() - start
        if _content(exported) in (None, before):
            sys.exit(f"{exported} was not written by the refit: look what it says")
        return seconds


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _cavga(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "cavga", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
