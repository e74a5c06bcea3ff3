"""What `pip install cavga` without extras weighs, and whether it predicts as torch does.

python -m benchmarks.base_install           # checks; about two minutes
python -m benchmarks.base_install --keep    # and writes benchmarks/results/base_install.jsonl
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import cavga
from benchmarks.result_files import write_result
from cavga.exporting.trace import onnx_model
from cavga.inference.torch_engine import load_run
from cavga.runs.model_json import ONNX_FILE

ROOT = Path(__file__).parent.parent
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "src")
OF_VENV = ("pip", "setuptools")  # in every environment of Python 3.11
ONLY_FOR_TRAINING = ("torch", "scipy", "sklearn", "matplotlib", "jaxtyping", "skimage")
LARGEST_MB, LONGEST_IMPORT, LARGEST_DIFFERENCE = 250, 0.2, 1e-5
TIMES = 5
SETTINGS = {
    "data": {"image_size": (64, 64)},
    "model": {"variant": "r-u", "weights": "none", "latent_channels": 8, "decoder_width": 8},
    "training": {"epochs": 1, "batch_size": 4, "device": "cpu"},
}


def main() -> int:
    """Measure, print, and with --keep write the file; returns 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/base_install.jsonl")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = measure(Path(folder))
    for row in content["rows"]:
        print(f"{'ok    ' if row['within'] else 'MISSED'} {row['what']}: {row['value']:.3g} (goal {row['goal']:g})")
    if args.keep:
        write_result("base_install", content)
    return 0 if all(row["within"] for row in content["rows"]) else 1


def measure(folder: Path) -> dict[str, Any]:
    """Every row, in an environment that is made in `folder`."""
    photographs = make_photographs(folder / "photographs")
    run = cavga.train(photographs, folder / "run", cavga.make_config("recommended", SETTINGS))
    engine, description = load_run(run, "cpu")
    model = folder / "exported.onnx"
    model.write_bytes(onnx_model(engine.graph, description).SerializeToString())
    (run / ONNX_FILE).unlink(missing_ok=True)

    python, size = install(folder)
    bare, imported = best_time(python, "pass"), best_time(python, "import cavga")
    difference, seconds = compare_scores(python, folder, model, run, photographs)
    rows = [
        row("packages for training that are there", num_found(python), 0),
        row("MB installed", size, LARGEST_MB),
        row("seconds of `import cavga` above a bare interpreter", max(0.0, imported - bare), LONGEST_IMPORT),
        row("largest difference of a score from torch's, relative above 1", difference, LARGEST_DIFFERENCE),
        row("wrong answers to a run folder without exported graph", num_wrong_answers(python, run, photographs), 0),
    ]
    listed = output_of(python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check")
    packages = {item["name"]: item["version"] for item in json.loads(listed) if item["name"] not in OF_VENV}
    machine = {"python": sys.version.split()[0], "platform": sys.platform, "torch": str(torch.__version__)}
    num_photographs = len(list(photographs.iterdir()))
    return {
        **{"machine": machine, "packages": packages, "photographs": num_photographs, "predict_seconds": seconds},
        "rows": rows,
    }


def row(what: str, value: float, goal: float) -> dict[str, Any]:
    """A measured value and the largest that is wanted."""
    return {"what": what, "value": value, "goal": goal, "within": value <= goal}


def make_photographs(folder: Path) -> Path:
    """Sixteen smooth textures of two sizes."""
    folder.mkdir()
    for i in range(16):
        small = np.random.default_rng(i).integers(90, 160, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(small).resize((80 + i % 2 * 40, 96), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder


def install(folder: Path) -> tuple[Path, float]:
    """The interpreter of a fresh environment that holds cavga alone, and the MB that it took, compiled files too."""
    source = folder / "source"  # a build leaves files, and takes up those of the build before
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (source / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    venv.create(folder / "environment", with_pip=True)
    (packages,) = {path.parent for path in (folder / "environment").glob("[Ll]ib/**/site-packages/pip")}
    python = next(path for path in (folder / "environment").glob("*/python*") if path.stem == "python")
    before = megabytes(packages)
    output_of(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", source)
    return python, megabytes(packages) - before


def megabytes(folder: Path) -> float:
    """Of all files below a folder, in millions of bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def best_time(python: Path, statement: str) -> float:
    """The shortest of several whole processes, in seconds."""
    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        output_of(python, "-c", statement)
        times.append(time.perf_counter() - started)
    return min(times)


def num_found(python: Path) -> int:
    """How many of the packages that only training needs are installed or loaded by a command's import."""
    statement = (
        "import importlib.util, sys, cavga.prediction.predict, cavga.inference.onnx_engine; "
        f"print(sum(bool(name in sys.modules or importlib.util.find_spec(name)) for name in {ONLY_FOR_TRAINING}))"
    )
    return int(output_of(python, "-c", statement))


def compare_scores(python: Path, folder: Path, model: Path, run: Path, photographs: Path) -> tuple[float, float]:
    """The largest relative difference of `cavga predict` there from torch here, and the seconds of the command."""
    started = time.perf_counter()
    output_of(python, "-m", "cavga", "predict", model, photographs, "--output", folder / "results")
    seconds = time.perf_counter() - started
    lines = (folder / "results/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    found = np.array([json.loads(line)["score"] for line in lines])
    in_torch = cavga.AnomalyDetector.load_in_torch(run, device="cpu")
    expected = np.array([prediction.score for prediction in in_torch.predict(photographs)])
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max()), seconds


def num_wrong_answers(python: Path, run: Path, photographs: Path) -> int:
    """0 if a run that only torch can run is refused in one line with exit code 1."""
    command = [python, "-m", "cavga", "predict", run, photographs, "--output", run.parent / "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    return int(not (done.returncode == 1 and len(lines) == 1 and f"holds no {ONNX_FILE}" in lines[0]))


def output_of(*command: object) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
