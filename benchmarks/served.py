"""`cavga serve`, and others, in a process of their own, for what measures and attacks them."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Served:
    """Where a server listens, and its process."""

    address: str
    process: "subprocess.Popen[str]"

    def cpu_seconds(self) -> float:
        """What it has used of the processor, by this system's /proc."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime

    def peak_bytes(self) -> int:
        """The most memory that it has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
        assert found is not None
        return int(found[1]) << 10


@contextmanager
def serving(model: Path, *flags: str) -> Iterator[Served]:
    """A server of one model, called "model"; it is told to end with the block."""
    command = [
        sys.executable,
        "-m",
        "cavga",
        "serve",
        f"model={model}",
        "--port",
        "0",
        "--device",
        "cpu",
        "--json",
        *flags,
    ]
    with started(command) as found:
        yield found


@contextmanager
def started(command: Sequence[str]) -> Iterator[Served]:
    """Any server, once it says on stderr where it listens."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found, said = None, ""
        for line in process.stderr:
            said, found = line, re.search(r"http://(\S+)", line)
            if found:
                break
        if found is None:
            raise RuntimeError(f"the server did not start: {said}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
        try:
            yield Served(found[1], process)
        finally:
            process.terminate()
            process.wait()
