"""Where text leaves the process: what commands print, log and draw goes through here, whatever the streams are.

A name becomes one printable line. What an encoding lacks is written as an escape. A stream that is closed or full takes
nothing more, and the command goes on.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cavga.printable import printable


def show(lines: Iterable[str]) -> None:
    """Print the result of a command for people."""
    for line in lines:
        print(printable(line))


def show_json(result: Any) -> None:
    """Print the result of a command for programs: names are as they are."""
    print(json.dumps(result))


def complain(message: str) -> None:
    """Print one line of trouble on stderr."""
    note(f"cavga: {message}")


def note(line: str) -> None:
    """Print one line on stderr."""
    print(printable(line), file=sys.stderr, flush=True)


@contextmanager
def logs_shown(level: int) -> Iterator[None]:
    """Within the block what the package logs from `level` on is shown as lines of trouble, and others' warnings."""
    own, root, handler = logging.getLogger("cavga"), logging.getLogger(), _LogLines()
    before = own.level
    own.setLevel(level)
    root.addHandler(handler)
    try:
        yield
    finally:
        own.setLevel(before)
        root.removeHandler(handler)


class _LogLines(logging.Handler):
    """`logging`'s own would write a traceback where printing fails."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        complain(record.getMessage())


@contextmanager
def safe_streams() -> Iterator[None]:
    """Within the block sys.stdout and sys.stderr take any text, and never raise."""
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    output, errors = SafeStream(before[0]), SafeStream(before[1])
    sys.stdout, sys.stderr = output, errors
    try:
        yield
    finally:
        output.flush()
        if output.failure is not None:
            complain(f"not everything could be printed: {output.failure}")
        errors.flush()
        sys.stdout, sys.stderr = before


class SafeStream:
    """A text stream that passes on what its encoding can say; it is silent from the first failure on."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._is_silent = stream, stream is None
        self.failure: str | None = None
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write a text, as far as that can be done."""
        if self._stream is not None and not self._is_silent:
            sayable = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
            try:
                self._stream.write(sayable)
            except (OSError, ValueError) as error:  # ValueError: closed
                self._fall_silent(error)
        return len(text)

    def flush(self) -> None:
        """Send what waits."""
        if self._stream is not None and not self._is_silent:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fall_silent(error)

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return self._stream is not None and not self._is_silent and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self, error: OSError | ValueError) -> None:
        self._is_silent = True
        if not isinstance(error, BrokenPipeError):  # `cavga ... | head` has what it wanted
            self.failure = getattr(error, "strerror", None) or str(error)
        # What waits in the stream would be written when the process ends, and fail again.
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def _open_closed_descriptors() -> None:
    """Fill the places of closed standard streams: the next file to be opened would get one, and text with it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
