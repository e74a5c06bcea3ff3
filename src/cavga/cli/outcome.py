"""What a command did, and the exit codes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

DONE, FAILED, BAD_DATA, IN_PART, INTERRUPTED, TERMINATED = 0, 1, 3, 4, 130, 143


class Outcome(NamedTuple):
    """What a command did: lines for people, an object for --json, lines of trouble, and the exit code."""

    lines: Sequence[str]
    result: dict[str, Any]
    problems: Sequence[str] = ()
    exit_code: int = DONE
