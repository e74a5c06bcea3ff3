"""Signals at random moments of train, resume, predict, evaluate and export: nothing half done, nothing lost."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.launcher import Done, Limits, environment, real_process
from benchmarks.faults.pictures import save_category, save_good
from benchmarks.faults.trials import EXIT_CODES, READ, STOPPED, WRONG, Bench, Trial, json_lines, trial

OFTEN = 5  # of so many signals to a training all but one are SIGKILL, which nothing can catch
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MOST_RESUMES = 20
EVALUATED = ("metrics.json", "predictions.jsonl", "report.html", "pixel_counts.npz")


def training(bench: Bench) -> Iterator[Trial]:
    """Training that is stopped again and again and resumed: the weights are those of a run that never stopped."""
    epochs = bench.count(6, 3)
    command = ("train", bench.data, "--variant", "d-u", "--weights", "none", "--image-size", 32,
               "--epochs", epochs, "--latent-channels", 8, "--decoder-width", 8, "--batch-size", 5,
               "--device", "cpu", "--no-export")  # fmt: skip
    limits = Limits(checkpoint_seconds=0.0)  # after every epoch, as a training of hours has many
    whole = bench.cavga(*command, "--output", bench.folder / "whole", limits=limits)
    yield trial("training that is not stopped", whole)
    chain = number = killed = same = 0
    seconds = whole.seconds
    while killed < bench.count(50, 3):
        output, chain = bench.folder / f"run{chain}", chain + 1
        for attempt in range(MOST_RESUMES):
            sent = SIGNALS[number // OFTEN % len(SIGNALS)] if number % OFTEN == 0 else signal.SIGKILL
            resumed = (*command, "--output", output, "--resume")
            done, name = _stopped(bench, sent, seconds, *resumed, limits=limits)
            number, killed = number + 1, killed + (done.exit_code == -signal.SIGKILL)
            if done.exit_code == 0 and not done.is_timed_out:
                seconds = seconds if attempt else done.seconds  # what else the machine does changes meanwhile
                ended = _as_whole(bench, output, f"resumed run {chain}", done)
                same += ended.outcome == READ
                yield ended
                break
            yield _trial_of_kill(f"train, {name}", done)
    yield Trial("SIGKILL", READ, measured={"killed": killed, "resumed_bit_identically": same})


def _as_whole(bench: Bench, output: Path, what: str, done: Done) -> Trial:
    same = all((output / name).read_bytes() == (bench.folder / "whole" / name).read_bytes()
               for name in ("model.safetensors", "manifest.csv", "config.toml"))  # fmt: skip
    if not same:
        return trial(what, done, WRONG, "other weights than without stopping")
    left = leftovers(output)
    return trial(what, done, WRONG, f"left {left}") if left else trial(what, done, READ)


def predicting(bench: Bench) -> Iterator[Trial]:
    """Predictions into one folder: the lines there are those of a run that ended."""
    photographs = save_good(bench.folder / "photographs", 60)
    output = bench.folder / "out"
    command = ("predict", bench.run, photographs, "--output", output, "--overlays", "--maps", "--coco")
    whole = bench.cavga(*command)
    yield trial("predicting that is not stopped", whole)
    for number in range(bench.count(32, 4)):
        done, name = _stopped(bench, SIGNALS[number % len(SIGNALS)], whole.seconds, *command)
        yield _of_predictions(output, f"predict, {name}", done, len(list(photographs.iterdir())))
    last = bench.cavga(*command)
    left = leftovers(output)
    yield trial("predict after all of them", last, WRONG, f"left {left}") if left else trial("predict after all", last)


def _of_predictions(output: Path, what: str, done: Done, count: int) -> Trial:
    try:
        lines = json_lines(output / "predictions.jsonl")
        if (output / "coco.json").is_file():
            json.loads((output / "coco.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return trial(what, done, WRONG, f"a file is half written: {error}", codes=_codes())
    if lines and len(lines) != count:
        return trial(what, done, WRONG, f"{len(lines)} of {count} lines", codes=_codes())
    return _trial_of_kill(what, done)


def evaluating(bench: Bench) -> Iterator[Trial]:
    """Two evaluations in turn into one folder: its files are all of the one, or all of the other."""
    sets = {}
    for name, count in (("first", 3), ("second", 7)):
        sets[name] = save_category(bench.folder / name, num_train=2, num_good=count, num_bad=count)
    output = bench.folder / "out"
    whole = bench.cavga("evaluate", bench.run, sets["first"], "--output", output)
    yield trial("evaluating that is not stopped", whole)
    for number in range(bench.count(16, 3)):
        data = sets["second" if number % 2 else "first"]
        # Files are written at the end: that is where moments are worth trying.
        done, name = _stopped(
            bench,
            SIGNALS[number % len(SIGNALS)],
            whole.seconds,
            "evaluate",
            bench.run,
            data,
            "--output",
            output,
            least=0.5,
        )
        mixed = mixed_evaluation(output)
        what = f"evaluate, {name}"
        yield trial(what, done, WRONG, mixed, codes=_codes()) if mixed else _trial_of_kill(what, done)
    last = bench.cavga("evaluate", bench.run, sets["first"], "--output", output)
    fault = mixed_evaluation(output) or ", ".join(leftovers(output))
    yield trial("evaluate after all", last, WRONG, fault) if fault else trial("evaluate after all", last)


def mixed_evaluation(output: Path) -> str:
    """Whether the files of an evaluation are not of one and the same; "" if they are, or if there is none."""
    metrics = output / "metrics.json"
    there = [name for name in EVALUATED if (output / name).is_file()]
    if not metrics.is_file():
        return ""
    if len(there) < len(EVALUATED):
        return f"an evaluation of {' and '.join(there)} alone"
    counts = json.loads(metrics.read_text(encoding="utf-8"))["counts"]
    expected = counts["test_normal"] + counts["test_anomalous"]
    found = len(json_lines(output / "predictions.jsonl"))
    if found != expected:
        return f"metrics.json of {expected} images beside predictions.jsonl of {found}"
    report = (output / "report.html").read_text(encoding="utf-8")
    return "" if report.rstrip().endswith("</html>") else "a report that ends early"


def exporting(bench: Bench) -> Iterator[Trial]:
    """Exports over an older one: the file there is whole, and of its report."""
    run = bench.folder / "run"
    shutil.copytree(bench.run, run)
    whole = bench.cavga("export", run, "--data", bench.data)
    yield trial("exporting that is not stopped", whole)
    for number in range(bench.count(6, 1)):
        done, name = _stopped(
            bench, SIGNALS[number % len(SIGNALS)], whole.seconds, "export", run, "--data", bench.data, least=0.3
        )
        yield _trial_of_kill(f"export, {name}", done)
        output = bench.folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        yield trial(f"predict after export, {name}", _used(bench, run, output))
    last = bench.cavga("export", run, "--data", bench.data)
    left = leftovers(run)
    yield trial("export after all", last, WRONG, f"left {left}") if left else trial("export after all", last)


def _used(bench: Bench, run: Path, output: Path) -> Done:
    done = bench.cavga("predict", run, bench.data / "test/good", "--output", output)
    if done.exit_code != 0:  # an exit code that no command has, so that it is a fault
        return Done(99, done.out, done.err, done.seconds, done.peak_bytes)
    return done


def starting(bench: Bench) -> Iterator[Trial]:
    """Real processes that are stopped while their libraries load: no ImportError in place of the end."""
    for number in range(bench.count(12, 2)):
        sent = (signal.SIGTERM, signal.SIGINT)[number % 2]
        out = bench.folder / "out"
        command = ("train", bench.data, "--output", out, "--variant", "d-u", "--weights", "none", "--image-size", 32)
        begun = time.monotonic()
        with real_process(*command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            _until_it_imports(process)
            time.sleep(bench.random.random() * 1.0)
            process.send_signal(sent)
            try:
                said, complaint = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                yield Trial(f"start of train, {sent.name}", WRONG, "did not end in 60 s")
                continue
        texts = (said.decode(errors="replace"), complaint.decode(errors="replace"))
        done = Done(process.returncode, *texts, time.monotonic() - begun, 0)
        yield trial(f"start of train, {sent.name}", done, STOPPED, codes=(143, -signal.SIGTERM, 130, 0))
        shutil.rmtree(out, ignore_errors=True)


def _until_it_imports(process: "subprocess.Popen[bytes]") -> None:
    """Until numpy is being loaded: Python itself, before it, is not ours."""
    deadline = time.monotonic() + 30
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and time.monotonic() < deadline:
        if "_multiarray_umath" in maps.read_text(encoding="utf-8", errors="replace"):
            return
        time.sleep(0.005)


def _stopped(
    bench: Bench,
    sent: signal.Signals,
    seconds: float,
    *command: object,
    least: float = 0.0,
    limits: Limits | None = None,
) -> tuple[Done, str]:
    """A command that gets a signal at a random moment of the time that it takes, if it has not ended by then."""
    share = least + (1.05 - least) * bench.random.random()
    started = bench.launcher.start(*command, cwd=bench.folder, limits=limits)
    time.sleep(seconds * share)
    bench.launcher.send(started, sent)
    return bench.launcher.wait(started), f"{sent.name} at {share:.2f} of its time"


def _codes() -> frozenset[int]:
    """What a command may end with that got a signal: its number, where it cannot be caught or is the usual end."""
    return EXIT_CODES | {129, *(-sent for sent in SIGNALS)}


def _trial_of_kill(what: str, done: Done) -> Trial:
    codes = _codes() - {1, 2, 3, 4}
    if not done.out:  # it was not done, and ending, when the signal came
        codes -= {-signal.SIGTERM, -signal.SIGINT}
    return trial(what, done, READ if done.exit_code == 0 else STOPPED, codes=codes)


def leftovers(folder: Path) -> list[str]:
    """Files and folders that are nobody's: parts of files, and whatever hides besides locks."""
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))
            if path.suffix == ".tmp" or (path.name.startswith(".") and "lock" not in path.name)]  # fmt: skip


ATTACKS = {
    "train and resume": training,
    "predict": predicting,
    "evaluate": evaluating,
    "export": exporting,
    "while starting": starting,
}
