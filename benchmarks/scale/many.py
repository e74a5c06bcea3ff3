"""Hundreds of categories through one process, and whether memory grows with the number of images.

Each measurement is a process of its own, so that its peak is its own.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.scale.made_sets import make_photographs, small_config

SIDE = 128
NUM_TRAIN, EACH = 30, 4  # photographs of a category: to train on, and to score
ROUTED = """
import json, resource, sys, time
from pathlib import Path
from cavga.scale.loading import routed_models
from cavga.scale.work_list import Item, items_of
runs, photographs = sys.argv[1:]
scorer = routed_models(Path(runs), "cpu")
items = list(items_of(photographs))
list(scorer.results(items[:4]))  # what is loaded once
started = time.perf_counter()
count = sum(1 for _ in scorer.results(items))
seconds = time.perf_counter() - started
held = len(scorer._held._values)
print(json.dumps({"images": count, "seconds": round(seconds, 2), "cpu_seconds": round(time.process_time(), 2),
                  "models_held": held, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
"""
SHARD = """
import json, resource, sys
from cavga.scale.loading import one_model
from cavga.scale.score_lists import score_shard
from cavga.scale.work_list import WHOLE
model, photographs, output = sys.argv[1:]
summary = score_shard(one_model(model, "cpu"), photographs, output, shard=WHOLE, part_size=500)
print(json.dumps({"images": summary.counts.images,
                  "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
"""


def measure_categories(folder: Path, count: int) -> list[dict[str, Any]]:
    """A row of `count` categories with EACH photographs, and one of as many photographs of a single category.

    One category is trained; the others are copies of its packed file under other names, which cost the same.
    """
    from cavga.scale.packed import packed_path
    from cavga.scale.work_list import items_of

    runs = folder / "packed-only"
    model = _packed(folder, runs)
    for i in range(count):
        if not packed_path(runs, f"c{i:03d}").is_file():
            shutil.copy(model, packed_path(runs, f"c{i:03d}"))
    rows = []
    for categories in (count, 1):
        photographs = make_photographs(folder / f"photographs-{categories}", EACH * count, categories=categories)
        assert sum(1 for _ in items_of(str(photographs))) == EACH * count
        found = _measured(ROUTED, runs, photographs)
        rows.append({"what": "categories", "categories": categories, "model_bytes": model.stat().st_size, **found})
    return rows


def measure_memory(folder: Path, counts: tuple[int, int]) -> list[dict[str, Any]]:
    """The peak of a process that scores so many photographs, and of one that scores more."""
    from cavga.training.train import train

    run = folder / "model"
    if not (run / "model.onnx").is_file():
        train(make_photographs(folder / "train", 20), run, small_config())
    rows = []
    for count in counts:
        photographs = make_photographs(folder / f"photographs-of-{count}", count)
        shutil.rmtree(folder / f"out-{count}", ignore_errors=True)
        rows.append({"what": "memory", **_measured(SHARD, run, photographs, folder / f"out-{count}")})
    return rows


def _packed(folder: Path, runs: Path) -> Path:
    """The packed file of a category that is trained at SIDE px, in a folder without runs."""
    from cavga.scale.categories import train_categories
    from cavga.scale.packed import packed_path
    from cavga.scale.work_list import PACKED_FOLDER

    data = make_photographs(folder / "train-128", NUM_TRAIN)
    (row,) = train_categories(data, folder / "runs", small_config(side=SIDE))
    assert row.error is None, row.error
    if not runs.is_dir():
        shutil.copytree(folder / "runs" / PACKED_FOLDER, runs / PACKED_FOLDER)
    return packed_path(runs, "c000")


def _measured(program: str, *arguments: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
