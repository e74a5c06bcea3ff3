"""Two commands that write to one place at once: one refuses, or both results are whole."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults.kills import mixed_evaluation
from benchmarks.faults.pictures import save_bad, save_good
from benchmarks.faults.tables import TRAIN
from benchmarks.faults.trials import READ, REFUSED, WRONG, Bench, Trial, json_lines, trial


def predicting(bench: Bench) -> Iterator[Trial]:
    """Two predictions: what is there in the end is the whole of one."""
    first, second = save_good(bench.folder / "a", 80), save_bad(bench.folder / "b", 6)
    output = bench.folder / "out"
    for number in range(bench.count(12, 2)):
        shutil.rmtree(output, ignore_errors=True)
        yield from _together(bench, number, lambda: _predictions(output), *(
            ("predict", bench.run, photographs, "--output", output, "--overlays", "--maps")
            for photographs in ((first, second) if number % 2 else (second, first))))  # fmt: skip


def training(bench: Bench) -> Iterator[Trial]:
    """Two trainings of other data into one folder."""
    first, second = save_good(bench.folder / "a", 8), save_good(bench.folder / "b", 12, first=50)
    output = bench.folder / "out"
    for number in range(bench.count(6, 1)):
        shutil.rmtree(output, ignore_errors=True)
        yield from _together(bench, number, lambda: _run(bench, output), *(
            ("train", data, "--output", output, "--no-export", *TRAIN) for data in (first, second)))  # fmt: skip


def evaluating(bench: Bench) -> Iterator[Trial]:
    """An evaluation and another of the same run into one folder."""
    output = bench.folder / "out"
    for number in range(bench.count(6, 1)):
        shutil.rmtree(output, ignore_errors=True)
        command = ("evaluate", bench.run, bench.data, "--output", output)
        yield from _together(bench, number, lambda: mixed_evaluation(output), command, command)


def stale(bench: Bench) -> Iterator[Trial]:
    """A writer that was killed leaves nothing that keeps the next one out."""
    output = bench.folder / "out"
    photographs = save_good(bench.folder / "a", 80)
    command = ("predict", bench.run, photographs, "--output", output, "--overlays")
    for _ in range(bench.count(6, 1)):
        started = bench.launcher.start(*command, cwd=bench.folder)
        time.sleep(0.2 + 0.3 * bench.random.random())
        bench.launcher.send(started, 9)
        bench.launcher.wait(started)
        done = bench.cavga(*command)
        yield trial("predict after a killed one", done, *(() if done.exit_code == 0 else (WRONG, "was kept out")))


def _together(
    bench: Bench, number: int, fault_in_results: Callable[[], str], *commands: tuple[object, ...]
) -> Iterator[Trial]:
    started = []
    for command in commands:
        started.append(bench.launcher.start(*command, cwd=bench.folder))
        time.sleep(0.3 * bench.random.random())
    ended = [bench.launcher.wait(item) for item in started]
    fault = fault_in_results() if any(done.exit_code == 0 for done in ended) else "neither went through"
    for done in ended:
        what = f"{commands[0][0]}, two at once, {number}"
        outcome = READ if done.exit_code == 0 else REFUSED if done.exit_code in (1, 2) else WRONG
        yield trial(what, done, WRONG, fault) if fault else trial(what, done, outcome, "neither done nor refused")


def _predictions(output: Path) -> str:
    lines = json_lines(output / "predictions.jsonl")
    named = {line[key] for line in lines for key in ("overlay", "map") if line.get(key)}
    there = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.suffix in (".png", ".tiff")}
    if named - there:
        return f"{len(named - there)} of {len(named)} pictures that the lines name are not there"
    return f"{len(there - named)} pictures of which there is no line" if there - named else ""


def _run(bench: Bench, output: Path) -> str:
    described = json.loads((output / "model.json").read_text(encoding="utf-8"))["provenance"]["train"]
    listed = len((output / "manifest.csv").read_text(encoding="utf-8").splitlines()) - 1
    if described != listed:
        return f"model.json of {described} images beside a manifest of {listed}"
    done = bench.cavga("predict", output, bench.data / "test/good", "--output", bench.folder / "predicted")
    return "" if done.exit_code == 0 else f"the run does not predict: {done.last_words}"


ATTACKS = {"predict": predicting, "train": training, "evaluate": evaluating, "after a killed one": stale}
