"""All attacks, in two processes that start commands: rows for the results."""

import hashlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults import (
    disks,
    filling,
    images,
    kills,
    models,
    names,
    server,
    situations,
    special_files,
    tables,
    writers,
)
from benchmarks.faults.launcher import Launcher
from benchmarks.faults.pictures import save_category
from benchmarks.faults.trials import LARGEST_PEAK, OUTCOMES, WRONG, Bench, Trial, row_of

Attack = Callable[[Bench], Iterator[Trial]]
SEED = 19
NUM_WORKERS = 2
KINDS: dict[str, dict[str, Attack]] = {
    "images": images.ATTACKS,
    "models": models.ATTACKS,
    "tables": tables.ATTACKS,
    "names": names.ATTACKS,
    "special files": special_files.ATTACKS,
    "kills": kills.ATTACKS,
    "disks and streams": {**disks.ATTACKS, **filling.ATTACKS},
    "two writers": writers.ATTACKS,
    "situations": situations.ATTACKS,
    "a server": server.ATTACKS,
}
TRAINING = ("--variant", "d-u", "--weights", "none", "--image-size", "32", "--epochs", "2", "--latent-channels", "8",
            "--decoder-width", "8", "--batch-size", "5", "--device", "cpu")  # fmt: skip
PACKAGES = ("cavga", "numpy", "pillow", "onnxruntime", "onnx", "torch", "safetensors")


def attacks(only: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Kind and name of every attack, or of those that are named, as "kind" or "kind: name"."""
    found = [(kind, name) for kind, attacks_of_kind in KINDS.items() for name in attacks_of_kind]
    return [(kind, name) for kind, name in found if not only or {kind, f"{kind}: {name}"} & set(only)]


def try_all(
    folder: Path, chosen: Sequence[tuple[str, str]], *, is_short: bool, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run attacks, each in a folder of its own, on a run that is trained first."""
    data = save_category(folder / "data")
    with Launcher(with_torch=True) as first, Launcher(with_torch=True) as second:
        done = first.run("train", data, "--output", folder / "run", *TRAINING)
        if done.exit_code != 0:
            raise RuntimeError(f"training what is to be attacked failed: {done.err}")
        free, waiting = [first, second], list(enumerate(chosen))

        def work(launcher: Launcher) -> list[tuple[int, dict[str, Any]]]:
            rows = []
            while waiting:
                position, (kind, name) = waiting.pop(0)
                row = try_one(kind, name, launcher, folder, data, folder / "run", is_short=is_short)
                report(row)
                rows.append((position, row))
            return rows

        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            found = sorted((pair for rows in pool.map(work, free) for pair in rows), key=lambda pair: pair[0])
    return content([row for _, row in found], is_short=is_short)


def try_one(
    kind: str, name: str, launcher: Launcher, folder: Path, data: Path, run: Path, *, is_short: bool
) -> dict[str, Any]:
    """One attack; its random numbers are its own, whatever was tried before."""
    random = Random(hashlib.sha256(f"{SEED} {kind} {name}".encode()).digest())
    with tempfile.TemporaryDirectory(prefix="attack-", dir=folder) as place:
        copy = Path(place) / "model"
        own = Path(place) / "work"
        own.mkdir()
        shutil.copytree(run, copy)
        bench = Bench(launcher, own, data, copy, random, is_short)
        return row_of(kind, name, _to_its_end(KINDS[kind][name](bench)))


def _to_its_end(trials: Iterator[Trial]) -> Iterator[Trial]:
    """The trials of an attack; where a file that it looks for is not there, or is not what it was, that is a fault."""
    try:
        yield from trials
    except (OSError, ValueError, KeyError) as error:
        yield Trial("what was left behind", WRONG, f"{type(error).__name__}: {error}")


def content(rows: Sequence[dict[str, Any]], *, is_short: bool) -> dict[str, Any]:
    """The results: what was tried, by which rules, on what."""
    return {
        "what": "attacks on the commands: python -m benchmarks.faults",
        "form": "short" if is_short else "full",
        "seed": SEED,
        "outcomes": OUTCOMES,
        "largest_peak_mib": LARGEST_PEAK >> 20,
        "full_disk": disks.method(),
        "machine": {"python": platform.python_version(), "platform": sys.platform},
        "packages": {name: version(name) for name in PACKAGES},
        "rows": list(rows),
    }
