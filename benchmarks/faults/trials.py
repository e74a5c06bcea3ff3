"""One input tried: what came out of it, and by which rules that is a fault."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.launcher import Done, Launcher, Limits

READ, ALTERED, REFUSED, STOPPED, WRONG = "read", "altered", "refused", "stopped", "wrong"
OUTCOMES = {
    READ: "read, and read as it is meant",
    ALTERED: "read as another picture or text, which its format has no means to tell",
    REFUSED: "refused, or left out by name, in one line",
    STOPPED: "ended by the signal that was sent, with nothing half done",
    WRONG: "a fault",
}
EXIT_CODES = frozenset({0, 1, 2, 3, 4, 130, 143})  # those that docs/files.md lists
REFUSALS = frozenset({1, 2, 3, 4})
LARGEST_PEAK = 2 << 30  # bytes, with the libraries, which take a third of it where torch is loaded
# libtiff writes these to stderr itself, and Pillow has no way to stop it.
OF_LIBTIFF = re.compile(r"(_?TIFF\w+|\w+Decode|\w*Setup\w*|\w*Lib|tempfile\.tif|filename): ")
SHOWN = 5  # faults of one attack that a row keeps


@dataclass(frozen=True)
class Trial:
    """One input and its outcome; `why` says more of a fault, and `measured` is what a row keeps beside its counts."""

    what: str
    outcome: str
    why: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """What an attack works with: its own folder and seed, a launcher, a trained run and the data that it is of."""

    launcher: Launcher
    folder: Path
    data: Path
    run: Path
    random: Random
    is_short: bool

    def count(self, full: int, short: int) -> int:
        """How many inputs to try."""
        return short if self.is_short else full

    def cavga(self, *arguments: object, limits: Limits | None = None) -> Done:
        """One command, in the attack's folder."""
        return self.launcher.run(*arguments, cwd=self.folder, limits=limits)


def fault_of(done: Done, *, codes: Iterable[int] = EXIT_CODES) -> str:
    """What no command may do whatever it is given, in words; "" if it did none of it."""
    faults = {
        f"did not end in {done.seconds:.0f} s": done.is_timed_out,
        f"ended by signal {-done.exit_code}": done.exit_code < 0 and done.exit_code not in codes,
        f"exit code {done.exit_code}": done.exit_code >= 0 and done.exit_code not in codes,
        "a traceback": "Traceback (most recent call last)" in done.err + done.out,
        f"{done.peak_bytes >> 20} MiB of memory": done.peak_bytes > LARGEST_PEAK,
        "control characters in what it says": has_control_characters(done.out + done.err),
        "a line of a library, not of cavga": bool(foreign_lines(done.err)),
        "no word of why": done.exit_code in REFUSALS and not (done.err + done.out).strip(),
    }
    found = [text for text, is_so in faults.items() if is_so]
    return f"{', '.join(found)}: {done.last_words}" if found else ""


def has_control_characters(text: str) -> bool:
    """Whether a terminal would obey something in it beyond the end of a line."""
    return any((ord(character) < 32 and character not in "\n\t") or 127 <= ord(character) < 160 for character in text)


def foreign_lines(err: str) -> list[str]:
    """Lines of stderr that are not messages of cavga: warnings and logs of libraries, parts of tracebacks."""
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("cavga: ")]
    return [line for line in lines if not OF_LIBTIFF.match(line)]


def trial(
    what: str, done: Done, outcome: str | None = None, why: str = "", *, codes: Iterable[int] = EXIT_CODES
) -> Trial:
    """The trial of one command: a fault by the rules for all, else `outcome`, by default as the exit code says."""
    fault = fault_of(done, codes=codes)
    if fault:
        outcome, why = WRONG, fault
    elif outcome is None:
        outcome = REFUSED if done.exit_code in REFUSALS else READ if done.exit_code == 0 else STOPPED
    elif outcome == WRONG:
        why = f"{why}: exit code {done.exit_code}, {done.last_words}"
    return Trial(what, outcome, why, done.seconds, done.peak_bytes)


def expected(what: str, done: Done, *, codes: Iterable[int], says: str = "") -> Trial:
    """The trial of a command that has to end with one of `codes` and, where `says` is given, with that word."""
    codes = frozenset(codes)
    if done.exit_code not in codes:
        return trial(what, done, WRONG, f"expected exit code {' or '.join(map(str, sorted(codes)))}")
    if says and says.lower() not in (done.out + done.err).lower():
        return trial(what, done, WRONG, f"does not say {says!r}")
    return trial(what, done)


def json_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl, none where there is no file; only a new line ends one, not what Unicode has besides."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line] if file.is_file() else []


def row_of(kind: str, attack: str, trials: Iterator[Trial]) -> dict[str, Any]:
    """What came out of an attack, as a row of the results."""
    found = list(trials)
    counts = Counter(item.outcome for item in found)
    return {
        "kind": kind,
        "attack": attack,
        "tried": len(found),
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "slowest_seconds": round(max(item.seconds for item in found), 1),
        "peak_mib": round(max(item.peak_bytes for item in found) / 2**20),
        "measured": {name: value for item in found for name, value in item.measured.items()},
        "faults": [f"{item.what}: {item.why}" for item in found if item.outcome == WRONG][:SHOWN],
    }
