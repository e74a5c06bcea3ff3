"""Ctrl-C, and the signals by which services and closed terminals stop: what is half done is cleared up after each."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_AGAIN_AFTER = 0.05  # s
_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows lacks the last


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came; whoever clears up after Ctrl-C clears up after this."""


class Stop:
    """Which signal came, if one did, whatever error it became on its way up."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before = {number: signal.getsignal(number) for number in _NUMBERS}
        defaults = (signal.SIG_DFL, signal.default_int_handler)
        self._own = [number for number, handler in self._before.items() if handler in defaults]
        if threading.current_thread() is not threading.main_thread():  # no other one may set handlers
            self._own = []
        self._unraisable = sys.unraisablehook

    @property
    def is_termination(self) -> bool:
        return self.number is not None and self.number != signal.SIGINT

    def watch(self) -> None:
        """From now on the first signal raises."""
        for number in self._own:
            signal.signal(number, self._raise)
        sys.unraisablehook = self._raise_again

    def leave(self) -> None:
        """Everything as it was before."""
        sys.unraisablehook = self._unraisable
        for number in self._own:
            signal.signal(number, self._before[number])

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        for each in self._own:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def _raise_again(self, lost: Any) -> None:
        """A signal that arrives while Python clears an object up would be printed and forgotten."""
        if self.number is None or not isinstance(lost.exc_value, KeyboardInterrupt):
            self._unraisable(lost)
            return
        self.watch()
        threading.Timer(_AGAIN_AFTER, _send, (self.number,)).start()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Within the block SIGINT raises KeyboardInterrupt, SIGTERM and SIGHUP Terminated; a second one stops at once.

    Signals that somebody else handles, or ignores as nohup does, are left to them.
    """
    stop = Stop()
    stop.watch()
    try:
        yield stop
    finally:
        stop.leave()


def _send(number: int) -> None:
    """Send this process a signal again, so that it wakes a main thread that waits."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
