"""How fast and how lean prediction is: ratios, A and B measured in turn, written to results/deployment.jsonl.

python -m benchmarks.deployment RUN DATA WORK [PYTHON] [--only PART,PART]

RUN is a trained run with the encoder R at 256 px, DATA the data set it was trained on, WORK a folder for exports, which
are made once. PYTHON is of an environment that has anomalib; without it the rows beside anomalib say so. Both runtimes
use two threads. `--only` measures some of the parts again and leaves the others in the file as they are.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.deployment_models import (
    NUM_THREADS,
    SIZE,
    as_theirs,
    exported,
    fill,
    photographs,
    png_files,
    runner,
    write_ours,
    write_small_model,
)
from benchmarks.result_files import FOLDER, read_result, write_result
from benchmarks.speed import spread, timed

RESULT = "deployment"
RUNTIMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
REST = 0.1  # seconds before each call: the threads of the one before may still spin
ROUNDS = {1: 25, 16: 9}  # by the size of the batch
NUM_FILES = 48  # PNG files of the rows from end to end
NUM_IMAGES = (2000, 20000)  # of the row about memory
INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")
MEMORY = """
import re, sys
from pathlib import Path
from cavga.inference.detector import AnomalyDetector
from cavga.prediction.predict import predict_to_folder
predict_to_folder(AnomalyDetector.load(sys.argv[1], device="cpu"), [Path(sys.argv[2])], Path(sys.argv[3]))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])  # getrusage's counts the parent's too
"""
ANOMALIB = ("PaDiM", "PatchCore", "EfficientAD-S")

Row = dict[str, Any]
Call = Callable[[], object]


def main() -> None:
    """Measure the parts that are asked for, and write the file after each."""
    parts = {
        "forward": forward,
        "precision": precision,
        "anomalib": beside_anomalib,
        "end to end": end_to_end,
        "memory": memory,
    }
    parser = argparse.ArgumentParser()
    for name in ("run", "data", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("python", nargs="?")
    parser.add_argument("--only", default=",".join(parts))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    write_ours(args.run, args.data, args.work)
    content = read_result(RESULT) if (FOLDER / f"{RESULT}.jsonl").is_file() else {"parts": {}}
    for name in args.only.split(","):
        content["parts"][name] = {"rows": parts[name](args), "load": round(os.getloadavg()[0], 1)}
        content |= {"machine": machine(args.python), "method": METHOD, "files": NUM_FILES}
        write_result(RESULT, content)
        print(json.dumps(content["parts"][name], indent=1), flush=True)


METHOD = (
    "A and B in turn; the ratio of each pair; median and quartiles over the pairs; 2 pairs of warm-up; "
    f"a tenth of a second between calls; {SIZE[0]} px; {NUM_THREADS} threads"
)


def machine(python: str | None) -> Row:
    """What a reader needs to know of where it was measured."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text(encoding="utf-8").split()) if cpu.is_file() else set()
    packages = {name: version(name) for name in ("torch", "onnxruntime", "openvino")}
    if python:
        asked = "from importlib.metadata import version; print(version('anomalib'))"
        packages["anomalib"] = subprocess.check_output([python, "-c", asked], text=True).strip()
    found = {name: name in flags for name in INSTRUCTIONS}
    return {"processor": platform.machine(), "cores": os.cpu_count(), "instructions": found, **packages}


def forward(args: argparse.Namespace) -> list[Row]:
    """The whole graph against the encoder by itself."""
    rows = []
    for format, name in RUNTIMES.items():
        ours, encoder = runner(exported(args.work, format), format), runner(args.work / "encoder.onnx", format)
        for batch, rounds in ROUNDS.items():
            images = photographs(batch)
            times = in_turn({"ours": lambda: ours(images), "encoder": lambda: encoder(images)}, rounds)  # noqa: B023
            what = f"{name}, batch {batch}: photograph to score, map and mask / encoder alone"
            rows.append(ratio(what, times, "ours", "encoder", bound=1.10))
    return rows


def precision(args: argparse.Namespace) -> list[Row]:
    """INT8 against fp32, and what each does to the ranking of the test images."""
    rows = []
    for format, name in RUNTIMES.items():
        fp32, int8 = (runner(exported(args.work, format, one), format) for one in ("fp32", "int8"))
        for batch, rounds in ROUNDS.items():
            images = photographs(batch)
            times = in_turn({"fp32": lambda: fp32(images), "int8": lambda: int8(images)}, rounds)  # noqa: B023
            what = f"{name}, batch {batch}: images per second, INT8 / fp32"
            rows.append(ratio(what, times, "fp32", "int8", bound=1.8, at_least=True))
    return rows + auroc_rows(args)


def auroc_rows(args: argparse.Namespace) -> list[Row]:
    """Image AUROC of raw scores on the test images, less that of fp32 in ONNX Runtime."""
    from cavga.data.catalog import load_catalog
    from cavga.images.decode import read_image
    from cavga.images.resize import resized
    from cavga.metrics.image import auroc

    records = load_catalog(args.data).split("test")
    images = [resized(read_image(record.path), SIZE) for record in records]
    labels = [record.label for record in records]
    scores = {}
    for precision, format in (("fp32", "onnx"), ("fp16", "onnx"), ("int8", "onnx"), ("int8", "openvino")):
        run = runner(exported(args.work, format, precision), format)
        batches = [run(np.stack(images[i : i + 16]))[0] for i in range(0, len(images), 16)]
        scores[f"{precision}, {RUNTIMES[format]}"] = np.concatenate(batches)
    found = {name: auroc(values, labels) for name, values in scores.items()}
    reference = found["fp32, ONNX Runtime"]
    assert reference is not None
    return [
        {"what": f"image AUROC, {name}", "median": round(float(value), 4), "change": round(float(value - reference), 4),
         "images": len(images)}
        for name, value in found.items() if value is not None
    ]  # fmt: skip


def beside_anomalib(args: argparse.Namespace) -> list[Row]:
    """Exported models of anomalib, ours and the encoder alone, each in the runtime that suits it better."""
    if not args.python:
        return [absent(f"{name} / ours", "no environment with anomalib was given") for name in ANOMALIB]
    side = [args.python, str(Path(__file__).with_name("deployment_anomalib.py"))]
    if not all((args.work / name / "model.onnx").is_file() for name in ANOMALIB):
        subprocess.run([*side, "export", str(args.work)], check=True, env=offline())
    rows = []
    for batch, names in ((1, ANOMALIB), (16, ("PaDiM", "EfficientAD-S"))):
        files = {"ours": "model", "encoder": "encoder", **{name: f"{name}/model" for name in names}}
        calls, chosen = {}, {}
        for name, stem in files.items():
            calls[name], chosen[name] = fastest(args.work / f"{stem}.onnx", batch)
        times = in_turn(calls, 11 if batch == 1 else 5)
        start = f"batch {batch}: time of"
        more = [ratio(f"{start} PaDiM / encoder alone", times, "PaDiM", "encoder")]
        more.append(ratio(f"{start} PaDiM / ours", times, "PaDiM", "ours"))
        what = f"{start} encoder alone / ours (share of the ceiling)"
        more.append(ratio(what, times, "encoder", "ours", bound=0.9, at_least=True))
        for name, bound in (("EfficientAD-S", 4.0), ("PatchCore", 5.0)):
            if name in names:
                more.append(ratio(f"{start} {name} / ours", times, name, "ours", bound=bound, at_least=True))
        rows += [row | {"runtimes": chosen} for row in more]
    return rows


def fastest(path: Path, batch: int) -> tuple[Call, str]:
    """A model in the faster of the two runtimes, by the best of three calls."""
    found = {}
    for format, name in RUNTIMES.items():
        try:
            run = runner(path, format)
            images = photographs(batch) if run.is_uint8 else as_theirs(batch)
            call = lambda run=run, images=images: run(images)  # noqa: E731
            call()
            found[name] = (min(in_turn({"": call}, 3)[""]), call)
        except RuntimeError as error:
            print(f"{path.name} does not run in {name}, batch {batch}: {str(error)[:200]}", file=sys.stderr)
    name = min(found, key=lambda name: found[name][0])
    return found[name][1], name


def end_to_end(args: argparse.Namespace) -> list[Row]:
    """From PNG files to predictions.jsonl."""
    from cavga.inference.detector import AnomalyDetector
    from cavga.prediction.predict import predict_to_folder

    files = png_files(args.data, args.work / "png", NUM_FILES)
    detectors = {name: AnomalyDetector.load(args.work / name, device="cpu") for name in ("model.onnx", "model.xml")}
    write = {name: lambda d=d: predict_to_folder(d, [files], args.work / "out") for name, d in detectors.items()}
    ours = min(write, key=lambda name: (write[name](), timed(write[name]))[1])
    calls: dict[str, Call] = {"writing": write[ours], "not": lambda: list(detectors[ours].predict(files))}
    times = in_turn(calls, 5)
    rows = [ratio("files to predictions.jsonl / files to predictions, not written", times, "writing", "not", bound=1.3)]
    what = f"anomalib's Engine.predict, PaDiM / files to predictions.jsonl, {ours}"
    if not args.python:
        return [*rows, absent(what, "no environment with anomalib was given")]
    side = [args.python, str(Path(__file__).with_name("deployment_anomalib.py")), "serve", str(files)]
    with subprocess.Popen(side, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=offline()) as server:
        assert server.stdin
        assert server.stdout
        for batch in (1, 16):

            def theirs(batch: int = batch) -> None:
                print(batch, file=server.stdin, flush=True)
                while not (line := server.stdout.readline()).startswith("predicted"):
                    if not line:
                        raise RuntimeError("anomalib's side ended")

            times = in_turn({"theirs": theirs, "ours": write[ours]}, 4)
            rows.append(ratio(f"{what}; its batches of {batch}", times, "theirs", "ours", bound=3.0, at_least=True))
        server.stdin.close()
    return rows


def memory(args: argparse.Namespace) -> list[Row]:
    """Peak memory of predicting ten times as many images, each number in a process of its own."""
    model = args.work / "small.onnx"
    write_small_model(model)
    peaks = []
    for count in NUM_IMAGES:
        folder = args.work / f"{count} images"
        fill(folder, count)
        command = [sys.executable, "-c", MEMORY, str(model), str(folder), str(args.work / "out")]
        peaks.append(int(subprocess.check_output(command, text=True).split()[-1]))
    return [
        {
            "what": f"peak memory of predicting {NUM_IMAGES[1]} images / {NUM_IMAGES[0]} images",
            "median": round(peaks[1] / peaks[0], 4), "bound": 1.05, "at_least": False,
            "peak_mib": [round(peak / 1024, 1) for peak in peaks],
        }
    ]  # fmt: skip


def in_turn(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, round by round, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 2):
        for name, call in calls.items():
            time.sleep(REST)
            seconds = timed(call)
            if i >= 2:
                times[name].append(seconds)
    return times


def ratio(
    what: str,
    times: Mapping[str, list[float]],
    above: str,
    below: str,
    *,
    bound: float | None = None,
    at_least: bool = False,
) -> Row:
    """One row: the ratio of two of the calls that were timed in turn."""
    ratios = [a / b for a, b in zip(times[above], times[below], strict=True)]
    milliseconds = [round(1000 * median(times[name]), 1) for name in (above, below)]
    row = {"what": what, **spread(ratios), "pairs": len(ratios), "median_ms": milliseconds}
    return row if bound is None else row | {"bound": bound, "at_least": at_least}


def absent(what: str, reason: str) -> Row:
    """A row without figures, and why."""
    return {"what": what, "median": None, "note": reason}


def offline() -> dict[str, str]:
    """The environment of anomalib's side: nothing is to be fetched."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(NUM_THREADS)}


if __name__ == "__main__":
    main()
