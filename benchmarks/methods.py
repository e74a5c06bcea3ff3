"""Run the paper's comparison methods at a cut size: MNIST with one class normal, screw and magnetic tile.

python -m benchmarks.methods MNIST_NPZ ROOT OUTPUT WEIGHTS [METHOD ...]

Every method that learns by steps takes as many. The rows go into benchmarks/results/methods.jsonl and say what was
cut; finished ones are not run again. MNIST_NPZ is the file that Keras distributes, of which the first images of every
class are taken; ROOT holds mvtec_ad/screw and magnetic_tile.
"""

import platform
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.result_files import write_result
from cavga.benchmark.baselines.index import BASELINES
from cavga.benchmark.experiments.experiment import SCREW, TILE, Experiment, merge
from cavga.benchmark.experiments.index import TABLES
from cavga.benchmark.runner import ROW_FILE, run_experiment

CLASSES = ("0",)
NUM_TRAIN, NUM_TEST = 600, 30  # of every class
NUM_STEPS = 150
SIDE = 64  # of screw and tile


def main(mnist: Path, root: Path, output: Path, weights: str, methods: Sequence[str]) -> None:
    """Run what is not finished, and write the rows of all that is."""
    if not (output / "data/MNIST/raw").is_dir():
        write_cut_mnist(mnist, output / "data/MNIST/raw")
    rows = []
    for experiment in experiments(weights):
        is_wanted = not methods or experiment.method in methods
        if is_wanted or (output / experiment.folder / ROW_FILE).is_file():
            rows.append(run_experiment(experiment, output / "data" if experiment.data == "MNIST" else root, output))
            image, pixel = (rows[-1].get("metrics", {}).get(part, {}).get("auroc") for part in ("image", "pixel"))
            print(experiment.folder, rows[-1]["error"], rows[-1].get("minutes"), image, pixel, flush=True)
    write_result("methods", {"machine": platform.machine(), "rows": rows})


def experiments(weights: str) -> Iterator[Experiment]:
    """The rows of tables 7 and 3 of the methods with a paper in docs/benchmarks.md, cut."""
    steps = {"training": {"epochs": 1, "steps_per_epoch": NUM_STEPS}}
    for experiment in (*TABLES["table7"]((0,), None), *TABLES["table3"]((0,), weights)):
        found = BASELINES.get(experiment.method)
        if found is None or not (found.paper or experiment.method == "ae_l2"):
            continue
        cut = f"{NUM_STEPS} steps of 16" if found.epochs else "nothing trained"
        if experiment.data == "MNIST" and experiment.normal_class in CLASSES:
            note = f"baseline, {cut}; {NUM_TRAIN} images of the class, {NUM_TEST} of every class tested"
            yield replace(experiment, overrides=merge(experiment.overrides, steps), note=note)
        if experiment.data in (SCREW, TILE):
            size = merge(experiment.overrides, {"data": {"image_size": (SIDE, SIDE)}})
            note = f"baseline, {cut}; {SIDE} px"
            yield replace(experiment, overrides=merge(size, steps if found.epochs else {}), note=note)


def write_cut_mnist(source: Path, raw: Path) -> None:
    """The first images of every class, as IDX files."""
    raw.mkdir(parents=True)
    with np.load(source) as found:
        for stem, part, count in (("train", "train", NUM_TRAIN), ("t10k", "test", NUM_TEST)):
            images, labels = found[f"x_{part}"], found[f"y_{part}"].astype(np.uint8)
            kept = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)]))
            header = struct.pack(">4I", 2051, *images[kept].shape)
            (raw / f"{stem}-images-idx3-ubyte").write_bytes(header + images[kept].tobytes())
            (raw / f"{stem}-labels-idx1-ubyte").write_bytes(
                struct.pack(">2I", 2049, len(kept)) + labels[kept].tobytes()
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5:])
