"""Disks that are full, folders that may not be written to, and streams that are closed or full."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.launcher import LONGEST, ROOT, Done, Limits, environment
from benchmarks.faults.pictures import part, save, save_good
from benchmarks.faults.tables import TRAIN
from benchmarks.faults.trials import WRONG, Bench, Trial, expected, trial

SIZES = (20, 60, 200, 600)  # kB


def full(bench: Bench) -> Iterator[Trial]:
    """Every command that writes, where there is too little room: one line, and no part of a file is left."""
    photographs = save_good(bench.folder / "photographs", 24)
    for size in SIZES[:: bench.count(1, 2)]:
        for command in ("train", "predict", "evaluate", "calibrate", "export")[: bench.count(5, 2)]:
            with small_disk(bench.folder / "disk", size) as (place, limits):
                model = place / "run" if command in ("calibrate", "export") else bench.run
                if model != bench.run and not _copied(bench.run, model):
                    continue
                done = bench.cavga(*_command(command, bench, model, photographs, place / "out"), limits=limits)
                what = f"{command} with {size} kB"
                left = [path.name for path in place.rglob("*.tmp")]
                yield trial(what, done, WRONG, f"left {left}") if left else expected(what, done, codes=(0, 1))


def method() -> str:
    """How a full disk is made here."""
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder) / "disk", 100) as (_, limits):
        return "a small tmpfs" if limits.file_bytes is None else "a limit on the size of files (RLIMIT_FSIZE)"


def read_only(bench: Bench) -> Iterator[Trial]:
    """A folder for results that may only be read, and one that may not even be read."""
    root = bench.folder
    limits = Limits(as_owner=os.getuid() == 0)
    photographs = save_good(root / "photographs", 3, first=7000)  # the run was not trained on them
    run = Path(shutil.copytree(bench.run, root / "run"))
    for mode in (0o555, 0o000):
        place = root / f"{mode:o}"
        place.mkdir()
        for name, output in (("itself", place), ("below it", place / "out")):
            place.chmod(mode)
            for command in ("predict", "evaluate", "train")[: bench.count(3, 2)]:
                done = bench.cavga(*_command(command, bench, run, photographs, output), limits=limits)
                yield expected(f"{command} into a folder of mode {mode:o}, {name}", done, codes=(1, 2))
            place.chmod(0o755)
    yield from _without_rights(bench, run, photographs, root / "out", limits)


def _without_rights(bench: Bench, run: Path, photographs: Path, output: Path, limits: Limits) -> Iterator[Trial]:
    """A run that may only be read, and photographs that may not even be read."""
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for command in ("calibrate", "export")[: bench.count(2, 1)]:
        done = bench.cavga(*_command(command, bench, run, photographs, run), limits=limits)
        yield expected(f"{command} of a run that may only be read", done, codes=(1, 2))
    for path in (photographs, photographs / "000.png"):
        before = path.stat().st_mode
        path.chmod(0o000)
        for command in ("predict", "train")[: bench.count(2, 1)]:
            done = bench.cavga(*_command(command, bench, run, photographs, output), limits=limits)
            yield expected(f"{command} of photographs that may not be read", done, codes=(1, 2, 3, 4))
        path.chmod(before)
    for path in (run, *run.rglob("*")):
        path.chmod(0o755)


STREAMS = {
    "stdout is full": ">/dev/full",
    "stderr is full": "2>/dev/full",
    "both are full": ">/dev/full 2>&1",
    "stdout is closed": ">&-",
    "stderr is closed": "2>&-",
    "all are closed": "<&- >&- 2>&-",
    "stdout is a pipe that nobody reads": "| true",
}


def streams(bench: Bench) -> Iterator[Trial]:
    """Streams that take nothing, and terminals of another alphabet, in real processes."""
    data = save_good(bench.folder / "data", 3)
    save(data / "\u0434\u0435\u0442\u0430\u043b\u044c1.png", part(3))
    save(data / "\u0434\u0435\u0442\u0430\u043b\u044c2.png", part(3))
    (data / "cut.png").write_bytes(b"x")
    commands = {
        "check": (("check", data), 3),
        "predict --json": (("predict", bench.run, data, "--output", bench.folder / "out", "--json"), 4),
        "--version": (("--version",), 0),
        "nothing": (("check", bench.folder / "nothing"), 3),
    }
    for command, (arguments, code) in list(commands.items())[: bench.count(4, 2)]:
        for what, redirected in list(STREAMS.items())[:: bench.count(1, 3)]:
            done = _shell(arguments, redirected)
            yield expected(f"{command}, {what}", done, codes=(code, 0) if "|" in redirected else (code, 1))
        for encoding in ("cp1252", "ascii"):
            done = _shell(arguments, "", PYTHONUTF8="0", PYTHONIOENCODING=encoding)
            yield expected(f"{command}, {encoding}", done, codes=(code,))


def _shell(arguments: tuple[object, ...], redirected: str, **env: str) -> Done:
    command = ["bash", "-c", f'"$0" -m cavga "$@" {redirected}', sys.executable, *map(str, arguments)]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, env={**environment(), **env}, timeout=LONGEST, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return Done(-9, "", "", LONGEST, 0, is_timed_out=True)
    texts = [
        stream.decode(env.get("PYTHONIOENCODING", "utf-8"), errors="replace") for stream in (done.stdout, done.stderr)
    ]
    if redirected and not any(texts) and done.returncode:
        texts[1] = "cavga: (what it said went where nothing can be seen)"
    return Done(done.returncode, texts[0], texts[1], time.monotonic() - begun, 0)


def _command(name: str, bench: Bench, model: Path, photographs: Path, output: Path) -> tuple[object, ...]:
    return {
        "train": ("train", photographs, "--output", output, "--no-export", *TRAIN[:4], "--image-size", 64, *TRAIN[6:]),
        "predict": ("predict", model, photographs, "--output", output, "--maps", "--overlays"),
        "evaluate": ("evaluate", model, bench.data, "--output", output),
        "calibrate": ("calibrate", model, photographs),
        "export": ("export", model, "--data", bench.data),
    }[name]  # fmt: skip


def _copied(run: Path, target: Path) -> bool:
    try:
        shutil.copytree(run, target, ignore=shutil.ignore_patterns("training", "model.onnx*"))
    except (OSError, shutil.Error):
        return False
    return True


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[tuple[Path, Limits]]:
    """A file system of that size where one may be mounted, else a limit on the size of each file."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    is_mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield place, Limits(file_bytes=None if is_mounted else kilobytes * 1024)
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


ATTACKS = {"full": full, "folders without rights": read_only, "streams": streams}
