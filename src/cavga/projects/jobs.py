"""What needs torch and time: a command as a child process, one at a time, with its progress and its end. No torch."""

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from cavga.errors import CavgaError
from cavga.projects.project import NotThereError
from cavga.structured_files import StructureError, parse_json

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
MOST_LINES = 200  # of what a command says, the latest
MOST_JOBS = 50  # that are remembered
PATIENCE = 15.0  # s from asking a child to end to ending it
_IN_PART = 4  # exit code of a command that left something out, and said so


class OccupiedError(CavgaError):
    """Another training, refit or export is under way."""


@dataclass
class Job:
    """One command: `progress` as its Tracker says it, `lines` what it says for people, `result` what --json prints."""

    id: str
    kind: str
    project: str
    process: "subprocess.Popen[bytes]"
    started: float
    state: str = RUNNING
    seconds: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    result: dict[str, Any] = field(default_factory=dict)
    is_cancelled: bool = False

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values; `seconds` since it began."""
        seconds = time.monotonic() - self.started if self.state == RUNNING else self.seconds
        return {
            "id": self.id, "kind": self.kind, "project": self.project, "state": self.state,
            "seconds": round(seconds, 1), "progress": self.progress, "lines": list(self.lines), "result": self.result,
        }  # fmt: skip


class Jobs:
    """The jobs of a server, in memory; the folder `hidden` is left out of what their commands say."""

    def __init__(self, hidden: str) -> None:
        self._hidden = hidden
        self._jobs: dict[str, Job] = {}
        self._lock, self._count = threading.Lock(), 0

    def all(self) -> list[Job]:
        """Those that are remembered, the newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def running(self) -> Job | None:
        """The one that is under way."""
        return next((job for job in self.all() if job.state == RUNNING), None)

    def start(self, kind: str, project: str, arguments: Sequence[str], ended: Callable[[Job], None]) -> Job:
        """Run `cavga ARGUMENTS --json` as a child; `ended` is called in a thread. Raises OccupiedError."""
        with self._lock:
            busy = next((job for job in self._jobs.values() if job.state == RUNNING), None)
            if busy is not None:
                raise OccupiedError(f"{busy.kind} of {busy.project} is under way: wait until it ends, or cancel it")
            command = [sys.executable, "-m", "cavga.child", *arguments, "--json"]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )  # its end of stdin closes when this process ends, however it ends
            self._count += 1
            job = Job(f"{self._count}", kind, project, process, time.monotonic())
            self._jobs[job.id] = job
            for old in list(self._jobs)[:-MOST_JOBS]:
                del self._jobs[old]
        threading.Thread(target=self._watch, args=(job, ended), name=f"cavga-job-{job.id}", daemon=True).start()
        return job

    def cancel(self, id: str) -> Job:
        """Ask a job to end; raises NotThereError."""
        with self._lock:
            job = self._jobs.get(id)
        if job is None:
            raise NotThereError(f"no job {id[:40]!r}; it may be of an earlier start of the server")
        if job.state == RUNNING:
            job.is_cancelled = True
            self._end(job)
        return job

    def close(self) -> None:
        """End what is under way, and wait for it."""
        for job in self.all():
            if job.state == RUNNING:
                job.is_cancelled = True
                self._end(job)
                job.process.wait()

    def _end(self, job: Job) -> None:
        with suppress(OSError):
            job.process.terminate()
        killer = threading.Timer(PATIENCE, job.process.kill)
        killer.daemon = True
        killer.start()

    def _watch(self, job: Job, ended: Callable[[Job], None]) -> None:
        output: list[bytes] = []
        assert job.process.stdout is not None
        assert job.process.stderr is not None
        reader = threading.Thread(target=lambda out: output.append(out.read()), args=(job.process.stdout,), daemon=True)
        reader.start()
        for line in job.process.stderr:
            self._hear(job, line.decode(errors="replace").rstrip())
        reader.join()
        code = job.process.wait()
        for stream in (job.process.stdin, job.process.stdout, job.process.stderr):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        with suppress(StructureError):
            job.result = parse_json(b"".join(output), dict)
        job.seconds = time.monotonic() - job.started
        state = DONE if code in (0, _IN_PART) else CANCELLED if job.is_cancelled else FAILED
        try:
            if state == DONE:
                ended(job)
        except CavgaError as error:
            job.lines.append(str(error))
        finally:
            if state == FAILED and not job.lines:
                job.lines.append(f"it ended without a word (exit code {code}); perhaps there was too little memory")
            job.state = state

    def _hear(self, job: Job, line: str) -> None:
        """A line of a child's stderr: how far it is, or something for people."""
        if line.startswith("{"):
            with suppress(ValueError):
                job.progress = parse_json(line, dict)
                return
        text = line.removeprefix("cavga: ").replace(f"{self._hidden}/", "")
        if text:
            job.lines.append(text)
