"""What an experiment of a table costs, and which code it was computed with."""

import subprocess
from functools import cache
from pathlib import Path

from cavga._version import __version__
from cavga.inference.lines import read_predictions

_SELF = Path("/proc/self")
_PEAK_ONLY = "5"  # proc_pid_clear_refs(5): the peak alone is reset


def reset_peak_memory() -> bool:
    """Set the process's peak memory back to what it holds now; False where the system cannot (not Linux).

    The peak that other systems report is that of the whole process, so of every experiment before as well.
    """
    try:
        (_SELF / "clear_refs").write_text(_PEAK_ONLY)
    except OSError:
        return False
    return True


def peak_memory_mb() -> float | None:
    """The most memory the process has held since the reset, in MB (1e6 bytes); None if unknown."""
    try:
        lines = (_SELF / "status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if kilobytes is None else round(int(kilobytes) * 1024 / 1e6, 1)


def images_per_second(predictions: Path) -> float | None:
    """How many images a second the evaluation decoded and scored, by the times in its predictions.jsonl."""
    if not predictions.is_file():
        return None
    lines = read_predictions(predictions, needed=("milliseconds",))
    times = [line.milliseconds for line in lines if line.milliseconds is not None]
    return round(len(times) / (sum(times) / 1000), 2) if sum(times) else None


@cache
def code_version() -> str:
    """The commit of the package's source where that is a git checkout ("-changed" with edits), else its version."""
    here = Path(__file__).parents[1]
    if (
        _git(here, "ls-files", "--error-unmatch", str(Path(__file__).relative_to(here))) is None
    ):  # installed, maybe into another checkout
        return f"cavga {__version__}"
    commit, changes = _git(here, "rev-parse", "--short=12", "HEAD"), _git(here, "status", "--porcelain", "--", ".")
    return f"{commit}{'-changed' if changes else ''}" if commit else f"cavga {__version__}"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
