"""A disk that fills up under results that are there already: they stay as they were, or the new ones are whole."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.faults.disks import small_disk
from benchmarks.faults.kills import leftovers
from benchmarks.faults.launcher import Limits
from benchmarks.faults.pictures import save_bad, save_good
from benchmarks.faults.trials import READ, WRONG, Bench, Trial, expected, json_lines, trial

DISK = 120_000  # kB
LEFT = (4, 40, 400)  # kB that the filled disk has left
LEFT_FOR_REFIT = (4, 400, 6_000, 12_000)  # less than a version, its graph, and the files that are exchanged
LEFT_FOR_TRAINING = (4, 4_000, 12_000, 14_000)  # a checkpoint is 8 MB: none, none, the first, the first
FILLER = "filler"
LONG = Limits(seconds=900.0)  # of what ends with an export, which takes longer than all else
OF_A_RUN_TO_REFIT = ("--variant", "r-u", "--encoder", "squeezenet1_0", "--weights", "none", "--prior", "aggregated",
                     "--image-size", "32", "--epochs", "1", "--latent-channels", "8", "--batch-size", "5",
                     "--device", "cpu", "--no-export")  # fmt: skip


def over_results(bench: Bench) -> Iterator[Trial]:
    """Commands whose earlier results are on the disk: after one that fails, every file is as it was."""
    photographs = save_good(bench.folder / "photographs", 24, first=7000)
    for left in LEFT[:: bench.count(1, 2)]:
        for name in ("predict", "evaluate", "calibrate", "export")[: bench.count(4, 2)]:
            with small_disk(bench.folder / "disk", DISK) as (place, limits):
                run = Path(shutil.copytree(bench.run, place / "run"))
                first, second = _commands(name, bench, run, photographs, place / "out")
                yield expected(f"{name}, the first time", bench.cavga(*first), codes=(0,))
                yield _while_full(bench, place, left, limits, second)
                yield expected(f"{name}, with room again", bench.cavga(*second), codes=(0,))


def pictures(bench: Bench) -> Iterator[Trial]:
    """Predictions with pictures, whose earlier ones go as the first new one comes: no line names one that is gone."""
    few, many = (save_good(bench.folder / str(count), count, first=7000) for count in (3, 24))
    for left in LEFT[:: bench.count(1, 2)]:
        with small_disk(bench.folder / "disk", DISK) as (place, limits):
            output = place / "out"
            flags = ("--output", output, "--overlays", "--maps")
            yield expected("predict, the first time", bench.cavga("predict", bench.run, few, *flags), codes=(0,))
            with _filled(place, left, limits) as filled:
                done = bench.cavga("predict", bench.run, many, *flags, limits=filled)
            lines = json_lines(output / "predictions.jsonl")
            gone = [line[key] for line in lines for key in ("overlay", "map")
                    if line.get(key) and not (output / line[key]).is_file()]  # fmt: skip
            what = f"predict with pictures, {left} kB left"
            fault = f"{len(gone)} pictures that lines name are gone" if gone else ""
            yield trial(what, done, WRONG, fault) if fault else expected(what, done, codes=(0, 1, 4))
            last = bench.cavga("predict", bench.run, many, *flags)
            over = ", ".join(leftovers(place))
            yield trial(what, last, WRONG, f"left {over}") if over else expected("with room again", last, codes=(0,))


def checkpoints(bench: Bench) -> Iterator[Trial]:
    """A training whose checkpoints do not fit: the one before stays, and from it the same weights come."""
    often = Limits(checkpoint_seconds=0.0)
    command = ("train", bench.data, "--variant", "d-u", "--weights", "none", "--image-size", 32, "--epochs", 4,
               "--latent-channels", 8, "--decoder-width", 8, "--batch-size", 5, "--device", "cpu",
               "--no-export", "--resume", "--output")  # fmt: skip
    whole = bench.folder / "whole"
    yield expected("a training with room", bench.cavga(*command, whole, limits=often), codes=(0,))
    for left in LEFT_FOR_TRAINING:
        with small_disk(bench.folder / "disk", DISK) as (place, limits):
            with _filled(place, left, limits) as filled:
                done = bench.cavga(*command, place / "run", limits=replace(filled, checkpoint_seconds=0.0))
                yield expected(f"train, {left} kB left", done, codes=(1,))
            what = f"resumed after {left} kB"
            yield expected(what, bench.cavga(*command, place / "run", limits=often), codes=(0,))
            same = (whole / "model.safetensors").read_bytes() == (place / "run/model.safetensors").read_bytes()
            yield Trial(f"weights, {what}", READ if same else WRONG, "" if same else "other weights")


def refits(bench: Bench) -> Iterator[Trial]:
    """Refits that do not fit: the run is as it was, and is refitted once there is room."""
    trained, marked = bench.folder / "trained", save_bad(bench.folder / "marked", 3)
    yield expected("train", bench.cavga("train", bench.data, "--output", trained, *OF_A_RUN_TO_REFIT), codes=(0,))
    yield expected("mark", bench.cavga("mark", trained, marked, "--bad"), codes=(0,))
    for left in LEFT_FOR_REFIT:
        with small_disk(bench.folder / "disk", DISK) as (place, limits):
            run = Path(shutil.copytree(trained, place / "run"))
            yield _while_full(bench, place, left, limits, ("refit", run, "--force"))
            yield expected(
                "predict after it", bench.cavga("predict", run, marked, "--output", place / "out"), codes=(0,)
            )
    yield expected("refit, with room", bench.cavga("refit", trained, "--force", limits=LONG), codes=(0,))


def _while_full(bench: Bench, place: Path, left: int, limits: Limits, command: tuple[object, ...]) -> Trial:
    """One command with so little room: it fails, and what was there is as it was, or it succeeds."""
    before = _files(place)
    with _filled(place, left, limits) as filled:
        done = bench.cavga(*command, limits=replace(filled, seconds=LONG.seconds))
    after, what = _files(place), f"{command[0]}, {left} kB left"
    changed = sorted(name for name, content in before.items() if after.get(name) != content)
    if done.exit_code != 0 and changed:
        return trial(what, done, WRONG, f"changed {', '.join(changed[:5])}")
    left_over = leftovers(place)
    return trial(what, done, WRONG, f"left {left_over}") if left_over else expected(what, done, codes=(0, 1))


def _files(place: Path) -> dict[str, bytes]:
    """What is on the disk, without locks."""
    found = [path for path in place.rglob("*") if path.is_file() and "lock" not in path.name]
    return {str(path.relative_to(place)): path.read_bytes() for path in found}


@contextlib.contextmanager
def _filled(place: Path, left: int, limits: Limits) -> Iterator[Limits]:
    """The disk with so many kB left; without a disk of its own, what a command may write to a file."""
    if limits.file_bytes is not None:
        yield Limits(file_bytes=left * 1024)
        return
    with (place / FILLER).open("wb") as file:
        for _ in range(max(0, shutil.disk_usage(place).free // 1024 - left)):
            file.write(bytes(1024))
    try:
        yield Limits()
    finally:
        (place / FILLER).unlink()


def _commands(
    name: str, bench: Bench, run: Path, photographs: Path, output: Path
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """What writes the first results, and what is tried over them."""
    second = {
        "predict": ("predict", run, photographs, "--output", output),
        "evaluate": ("evaluate", run, bench.data, "--output", output),
        "calibrate": ("calibrate", run, photographs),
        "export": ("export", run, "--data", bench.data),
    }[name]  # fmt: skip
    return {"predict": ("predict", run, bench.data / "test/good", "--output", output)}.get(name, second), second


ATTACKS = {
    "filling under results": over_results,
    "filling under pictures": pictures,
    "filling under checkpoints": checkpoints,
    "filling under a run that is refitted": refits,
}
