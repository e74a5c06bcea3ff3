"""What is no regular file, where one is named: pipes, devices, sockets, folders and links to them, in every command."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.launcher import Limits
from benchmarks.faults.pictures import save_category
from benchmarks.faults.tables import TRAIN
from benchmarks.faults.trials import STOPPED, Bench, Trial, expected, trial

LIMITS = Limits(seconds=25)
BEFORE_SIGTERM, AFTER_SIGTERM = 1.0, 10.0  # seconds
NAMES_OF_RUN = ("model.json", "model.onnx", "model.onnx.json", "calibration.json", "manifest.csv")


def in_data(bench: Bench) -> Iterator[Trial]:
    """In a place of a photograph or mask: named or passed over, and the others are read."""
    for what in list(_kinds(bench))[:: bench.count(1, 3)]:
        for place in ("train/good/zz.png", "test/good/zz.png", "ground_truth/block/000_mask.png"):
            data = bench.folder / "data"
            shutil.rmtree(data, ignore_errors=True)
            save_category(data, num_train=6, num_good=3, num_bad=3)
            (data / place).unlink(missing_ok=True)
            _make(what, data / place)
            for command, arguments in _commands(bench, data).items():
                done = bench.cavga(command, *arguments, limits=LIMITS)
                yield expected(f"{what} at {place}, {command}", done, codes=(0, 3, 4))
                shutil.rmtree(bench.folder / "out", ignore_errors=True)


def named(bench: Bench) -> Iterator[Trial]:
    """Named by the user where a file is wanted: refused."""
    for what in list(_kinds(bench))[:: bench.count(1, 3)]:
        path = bench.folder / "named"
        for suffix in ("", ".png", ".csv", ".onnx", ".toml"):
            odd = path.with_name(f"named{suffix}")
            if odd.is_symlink() or odd.exists():
                odd.rmdir() if odd.is_dir() and not odd.is_symlink() else odd.unlink()
            _make(what, odd)
            for arguments in _with_file(bench, odd):
                done = bench.cavga(*arguments, limits=LIMITS)
                yield expected(f"{what} as {odd.name}, {arguments[0]}", done, codes=(1, 2, 3))


def in_model(bench: Bench) -> Iterator[Trial]:
    """In the place of a file of a run."""
    for what in list(_kinds(bench))[:: bench.count(1, 4)]:
        for name in NAMES_OF_RUN:
            model = bench.folder / "model"
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(bench.run, model)
            (model / name).unlink(missing_ok=True)
            _make(what, model / name)
            for arguments in (("predict", model, bench.data / "test/good", "--output", bench.folder / "out"),
                              ("evaluate", model, bench.data, "--output", bench.folder / "out"),
                              ("calibrate", model, "--reset")):  # fmt: skip
                done = bench.cavga(*arguments, limits=LIMITS)
                yield trial(f"{what} as {name}, {arguments[0]}", done)
                shutil.rmtree(bench.folder / "out", ignore_errors=True)


def as_output(bench: Bench) -> Iterator[Trial]:
    """Where the output belongs, whole or one of its files."""
    for what in list(_kinds(bench))[:: bench.count(1, 4)]:
        for command, arguments in _commands(bench, bench.data).items():
            out = bench.folder / "out"
            if "--output" not in arguments:
                continue
            if out.is_symlink() or out.is_file():
                out.unlink()
            elif out.is_dir():
                shutil.rmtree(out)
            elif out.exists():
                out.unlink()
            _make(what, out)
            done = bench.cavga(command, *arguments, limits=LIMITS)
            yield expected(f"{what} as --output, {command}", done, codes=(0,) if what == "a folder" else (1, 2))


def sigterm(bench: Bench) -> Iterator[Trial]:
    """SIGTERM while a command may be waiting at such a place: it ends at once, whatever it was doing."""
    for what in ("a pipe", "a link to a pipe", "a pipe with a writer that says nothing"):
        data = bench.folder / f"data {what}"
        save_category(data, num_train=6, num_good=3, num_bad=3)
        for folder in ("train/good", "test/good"):
            _make(what.replace(" with a writer that says nothing", ""), data / folder / "zz.png")
        holders = _writers(data) if "writer" in what else []
        for command, arguments in _commands(bench, data).items():
            started = bench.launcher.start(
                command, *arguments, cwd=bench.folder, limits=Limits(seconds=BEFORE_SIGTERM + AFTER_SIGTERM)
            )
            time.sleep(BEFORE_SIGTERM * (0.3 if bench.is_short else 1))
            _send(started.pid)
            done = bench.launcher.wait(started)
            is_stopped = done.exit_code == 143 or (done.exit_code == -signal.SIGTERM and done.out)  # while it ended
            codes = (0, 3, 4, 143, done.exit_code if is_stopped else 0)
            yield trial(f"SIGTERM at {what}, {command}", done, STOPPED if is_stopped else None, codes=codes)
            shutil.rmtree(bench.folder / "out", ignore_errors=True)
        for holder in holders:
            os.close(holder)


def links(bench: Bench) -> Iterator[Trial]:
    """Links to themselves, to folders above, to nothing, and twice to one folder."""
    data = save_category(bench.folder / "data", num_train=6, num_good=3, num_bad=3)
    photographs = data / "train/good"
    (photographs / "loop").symlink_to(".")
    (photographs / "up").symlink_to("../..")
    (photographs / "dangling.png").symlink_to("nowhere.png")
    (photographs / "itself.png").symlink_to("itself.png")
    for command, arguments in _commands(bench, data).items():
        yield expected(f"links in data, {command}", bench.cavga(command, *arguments, limits=LIMITS), codes=(0, 3, 4))
    yield expected(
        "dangling links, check", bench.cavga("check", photographs, limits=LIMITS), codes=(3,), says="dangling.png"
    )
    twice = bench.folder / "twice"
    save_category(bench.folder / "other", num_train=4)
    for name in ("a", "b"):
        (twice / name).parent.mkdir(exist_ok=True)
        (twice / name).symlink_to(bench.folder / "other/train/good")
    done = bench.cavga("predict", bench.run, twice, "--output", bench.folder / "out2", limits=LIMITS)
    yield expected("two links to one folder, predict", done, codes=(0,), says="8 images scored")


def _commands(bench: Bench, data: Path) -> dict[str, tuple[object, ...]]:
    out = bench.folder / "out"
    commands: dict[str, tuple[object, ...]] = {
        "check": (data,),
        "predict": (bench.run, data, "--output", out),
        "evaluate": (bench.run, data, "--output", out),
        "train": (data, "--output", out, "--no-export", *TRAIN),
    }
    return dict(list(commands.items())[: bench.count(4, 2)])  # the last two take torch


def _with_file(bench: Bench, odd: Path) -> list[tuple[object, ...]]:
    """The commands in which a user names a file of that suffix."""
    photographs, out = bench.data / "test/good", bench.folder / "out"
    return {
        "": [("check", odd), ("predict", odd, photographs, "--output", out), ("train", odd, "--output", out, *TRAIN),
             ("drift", odd, "--against", bench.run), ("compare", odd, odd), ("export", odd),
             ("calibrate", odd, photographs),
             ("train", photographs, "--output", out, *TRAIN[:2], "--weights", odd)],
        ".png": [("predict", bench.run, odd, "--output", out), ("calibrate", bench.run, odd),
                 ("train", photographs, "--output", out, *TRAIN, "--roi", odd)],
        ".csv": [("check", odd), ("train", odd, "--output", out, *TRAIN),
                 ("evaluate", "--maps", photographs, "--scores", odd, bench.data)],
        ".onnx": [("predict", odd, photographs, "--output", out), ("evaluate", odd, bench.data),
                  ("calibrate", odd, photographs)],
        ".toml": [("train", photographs, "--output", out, "--config", odd)],
    }[odd.suffix]  # fmt: skip


def _kinds(bench: Bench) -> Iterator[str]:
    del bench
    yield from ("a pipe", "a socket", "a link to a pipe", "a folder", "a link to /dev/zero", "a link to /dev/random",
                "a link to /dev/tty", "a link to itself", "a dangling link", "a link to /proc/self/mem")  # fmt: skip


def _make(what: str, path: Path) -> None:
    match what:
        case "a pipe":
            os.mkfifo(path)
        case "a socket":
            _bind(path)
        case "a folder":
            path.mkdir()
        case "a link to a pipe":
            pipe = path.with_name(f".{path.name}.pipe")
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe)
            path.symlink_to(pipe)
        case "a link to itself":
            path.symlink_to(path.name)
        case "a dangling link":
            path.symlink_to("nowhere.png")
        case _:
            path.symlink_to(what.removeprefix("a link to "))


def _bind(path: Path) -> None:
    """A socket, by way of its folder's descriptor: its whole path may be too long for an address."""
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def _writers(data: Path) -> list[int]:
    return [os.open(data / folder / "zz.png", os.O_RDWR | os.O_NONBLOCK) for folder in ("train/good", "test/good")]


def _send(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


ATTACKS = {
    "in the data": in_data,
    "named by the user": named,
    "in a model": in_model,
    "as output": as_output,
    "SIGTERM beside them": sigterm,
    "links": links,
}
