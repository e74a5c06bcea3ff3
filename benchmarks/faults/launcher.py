"""Commands by the hundred: a process that has imported everything forks one child a command.

Each command is a process of its own, with its own streams, limits, signals and exit, and starts in milliseconds instead
of seconds. The forking process is this module too (`python -m benchmarks.faults.launcher`): it never runs a command
itself, so that every child starts from the same state.
"""

import atexit
import contextlib
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[2]
LONGEST = 180.0  # seconds, generous: nothing that is tried takes more than some of them on an idle machine
ADDRESS_SPACE = 4 << 30  # bytes beyond what the imports take: a bomb ends its own process, not the machine
TICK = 0.005
CAPABILITY_VERSION = 0x20080522  # linux/capability.h, version 3
WITHOUT_TORCH = ("cavga.cli.commands.check", "cavga.cli.commands.predict", "cavga.inference.detector",
                 "cavga.prediction.predict", "cavga.monitoring.drift", "cavga.monitoring.recalibrate",
                 "cavga.monitoring.profile", "cavga.data.check", "cavga.evaluation.compare")  # fmt: skip
WITH_TORCH = (*WITHOUT_TORCH, "cavga.training.train", "cavga.evaluation.evaluate", "cavga.exporting.export", "onnx",
              "cavga.cli.commands.train", "cavga.cli.commands.evaluate", "cavga.cli.commands.export",
              "cavga.marking.refit", "cavga.cli.commands.refit", "cavga.cli.commands.mark")  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    exit_code: int  # negative: the signal that ended it
    out: str
    err: str
    seconds: float
    peak_bytes: int
    is_timed_out: bool = False

    @property
    def last_words(self) -> str:
        """The end of what it said, for a report."""
        lines = (self.err.strip() or self.out.strip() or "nothing").splitlines()
        return lines[-1][:200]


@dataclass(frozen=True)
class Limits:
    """What a command runs under."""

    seconds: float = LONGEST
    file_bytes: int | None = None  # RLIMIT_FSIZE: a disk that is full, where none can be mounted
    as_owner: bool = False  # root may write anywhere, unless it gives that up: then it is as any owner of a file
    env: Mapping[str, str] = field(default_factory=dict)
    checkpoint_seconds: float | None = None  # between those of a training; some are not stopped within a usual one


@dataclass(frozen=True)
class Started:
    """A command that runs."""

    pid: int
    folder: Path  # of its streams
    seconds: float


class Launcher:
    """Starts commands; used as a context, in which its process lives."""

    def __init__(self, *, with_torch: bool) -> None:
        self._modules = WITH_TORCH if with_torch else WITHOUT_TORCH
        self._process: subprocess.Popen[str] | None = None
        self._streams = tempfile.TemporaryDirectory(prefix="cavga-faults-")
        self._count = 0

    def __enter__(self) -> "Launcher":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.launcher", *self._modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT,
        )  # fmt: skip
        self._ask({})  # all is imported
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait(timeout=LONGEST)
            self._process.stdout.close()
        self._streams.cleanup()

    def run(self, *arguments: object, cwd: Path | None = None, limits: Limits | None = None) -> Done:
        """One command from its start to its end."""
        return self.wait(self.start(*arguments, cwd=cwd, limits=limits))

    def start(self, *arguments: object, cwd: Path | None = None, limits: Limits | None = None) -> Started:
        """One command, not waited for."""
        limits, self._count = limits or Limits(), self._count + 1
        folder = Path(self._streams.name) / str(self._count)
        folder.mkdir()
        asked = {
            "argv": [os.fsencode(str(argument)).hex() for argument in arguments],
            "cwd": None if cwd is None else os.fsencode(cwd).hex(),
            "streams": str(folder),
            "file_bytes": limits.file_bytes,
            "as_owner": limits.as_owner,
            "env": dict(limits.env),
            "checkpoint_seconds": limits.checkpoint_seconds,
        }
        return Started(self._ask(asked)["pid"], folder, limits.seconds)

    def wait(self, started: Started) -> Done:
        """The end of a command that was started; one that does not end in its time is ended."""
        found = self._ask({"pid": started.pid, "seconds": started.seconds})
        out, err = ((started.folder / name).read_bytes().decode(errors="replace") for name in ("out", "err"))
        return Done(found["exit_code"], out, err, found["seconds"], found["peak_bytes"], found["is_timed_out"])

    def send(self, started: Started, number: int) -> None:
        """Send a signal to a command that was not waited for yet: its number is not given to another process."""
        os.kill(started.pid, number)

    def _ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(what)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that starts commands has ended: what it said is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def environment() -> dict[str, str]:
    """The environment of commands: this copy of the package, one thread a library."""
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "TERM": "dumb"}


def _serve(asked: IO[str], answers: IO[str]) -> list[str] | None:
    """Answer until the end of `asked`: None then; in a child the arguments of the command that it is to run."""
    started: dict[int, float] = {}
    for line in asked:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if "argv" in request:
            begun = time.monotonic()
            pid = os.fork()
            if pid == 0:
                return _become(request)
            answer["pid"], started[pid] = pid, begun
        elif "pid" in request:
            answer = _waited(request["pid"], started.pop(request["pid"]), request["seconds"])
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()
    return None


def _become(request: Mapping[str, Any]) -> list[str]:
    """The child: its streams, limits, folder and arguments."""
    import resource

    folder = Path(request["streams"])
    for number, name, flags in ((0, None, os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        path = os.devnull if name is None else str(folder / name)
        descriptor = os.open(path, flags | (0 if name is None else os.O_CREAT), 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
    if request["cwd"] is not None:
        os.chdir(bytes.fromhex(request["cwd"]))
    if request["as_owner"]:
        _give_up_capabilities()
    os.environ.update(request["env"])
    if request["checkpoint_seconds"] is not None:
        from cavga.training import loop

        loop.SECONDS_BETWEEN_CHECKPOINTS = request["checkpoint_seconds"]
    return ["cavga", *(os.fsdecode(bytes.fromhex(argument)) for argument in request["argv"])]


def _give_up_capabilities() -> None:
    """Linux's capset with empty sets, of this process: no right of root is left but that of owning files."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _waited(pid: int, begun: float, seconds: float) -> dict[str, Any]:
    is_timed_out = False
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begun > seconds and not is_timed_out:
            is_timed_out = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(TICK)
    return {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - begun,
        "peak_bytes": usage.ru_maxrss * 1024,
        "is_timed_out": is_timed_out,
    }


@contextlib.contextmanager
def real_process(*arguments: object, cwd: Path | None = None, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m cavga`, for what happens before the first line of a command, or to a stream that is not there."""
    process = subprocess.Popen([sys.executable, "-m", "cavga", *map(str, arguments)], cwd=cwd, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def main() -> int:
    """Import, then fork until nobody asks any more."""
    import importlib
    import runpy

    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for name in sys.argv[1:]:
        importlib.import_module(name)
    # A fork has the one thread alone, and onnxruntime, for one, starts another when it is imported.
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("something that was imported runs in a thread of its own: it cannot be forked")
    gc.freeze()  # what is imported is not looked at again in every child
    arguments = _serve(asked, answers)
    if arguments is not None:
        sys.argv = arguments
        _end(lambda: runpy.run_module("cavga", run_name="__main__", alter_sys=True))
    return 0


def _end(command: Callable[[], object]) -> NoReturn:
    """Run, then end as Python does: threads are waited for, streams flushed. Only the libraries are not taken down."""
    code: object = 0
    try:
        command()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120  # Python's own for this
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    sys.exit(main())
