"""How far a command is, on stderr: two lines that move on a terminal, else a line of text every few seconds."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cavga.cli.console import complain, note
from cavga.progress import SILENT, Progress, in_words

if TYPE_CHECKING:
    from rich.console import RenderableType

SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal
SECONDS_BETWEEN_OBJECTS = 0.5  # of JSON, for the program that started this one
PROGRESS_VARIABLE, AS_JSON = "CAVGA_PROGRESS", "json"  # of the environment: `cavga.child` sets it
REFRESHES = 4  # a second, on a terminal
BAR_WIDTH, NAME_WIDTH, COUNT_WIDTH = 20, 19, 12  # characters: a row fits into 80
SHORT = 1.0  # s; a phase that took less is not worth a line of its own
EARLY = 0.05  # share of a phase before which its own speed says little


class Tracker:
    """Which phase a command is at, how far, and how long it may still take."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, ended: Callable[[str], None] | None = None) -> None:
        self._clock, self._ended = clock, ended
        self._planned: dict[str, float] = {}
        self._planned_at = 0.0
        self._pace = 1.0  # what phases took, of what was planned for them
        self._shown = 0.0  # the share of the whole that was shown last: it never falls
        self._measured = 0.0, 0.0  # seconds that phases took, and that were planned for them
        self.phase, self.unit, self.done = "", "", 0.0
        self._done_before = 0.0  # by an earlier run
        self.total: int | None = None
        self._begun = clock()

    def plan(self, seconds: Mapping[str, float]) -> None:
        """The phases that follow, and about how long each takes."""
        self._end_phase()
        self._planned, self._planned_at, self._begun = dict(seconds), self._clock(), self._clock()
        self._shown = 0.0

    def begin(self, phase: str, total: int | None = None, unit: str = "", *, done: int = 0) -> None:
        """End the phase before, and begin another."""
        self._end_phase()
        self.phase, self.total, self.unit, self._begun = phase, total, unit, self._clock()
        self.done = self._done_before = float(done)

    def advance(self, amount: float = 1.0) -> None:
        """So much more is done of the phase."""
        self.done += amount

    def _end_phase(self) -> None:
        if not self.phase:
            return
        took = self.seconds
        planned = self._planned.pop(self.phase, None)
        if planned is not None:
            self._measured = self._measured[0] + took, self._measured[1] + planned
            self._pace = self._measured[0] / self._measured[1] if self._measured[1] else 1.0
        if self._ended is not None and took >= SHORT:
            self._ended(f"{self.phase:<{NAME_WIDTH}} {clock_time(took)}")
        self.phase = ""

    @property
    def seconds(self) -> float:
        """Since the phase was begun."""
        return self._clock() - self._begun

    @property
    def share(self) -> float | None:
        """How much of the phase is done; None where nobody knows."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """Of the phase: by its own speed, or by the plan where that says little yet; None where nobody knows."""
        share, planned = self.share, self._planned.get(self.phase)
        new = 0.0 if share is None or self.total is None else (self.done - self._done_before) / self.total
        if share is not None and (new >= EARLY or (new > 0 and planned is None)):
            return self.seconds * (1 - share) / new
        left = 0.0 if planned is None else planned * self._pace - self.seconds
        return left if left > 0 else None  # where a plan was too short, nobody knows any more

    @property
    def is_planned(self) -> bool:
        """Whether it is known which phases follow."""
        return bool(self._planned)

    @property
    def all_left(self) -> float:
        """Seconds that all phases of the plan may still take."""
        later = sum(seconds for phase, seconds in self._planned.items() if phase != self.phase)
        return (self.seconds_left or 0.0) + later * self._pace

    def whole_share(self) -> float:
        """How much of the plan is done."""
        gone = self._clock() - self._planned_at
        self._shown = max(self._shown, min(0.99, gone / max(gone + self.all_left, 1e-9)))
        return self._shown

    def count(self) -> str:
        """How many of how many."""
        if not self.total:
            return ""
        return f"{min(int(self.done + 1e-6), int(self.total))} of {int(self.total)}"

    def line(self) -> str:
        """All of it, in words."""
        parts = [f"{self.count()} {self.unit}".strip()] if self.total else []
        parts += [f"{self.share:.0%}"[:-1] + " %"] if self.share is not None else [f"for {in_words(self.seconds)} now"]
        left = self.seconds_left
        parts += [] if left is None else [f"about {in_words(left)} left"]
        if self.is_planned:
            parts[-1] += f"; {100 * self.whole_share():.0f} % of all, about {in_words(self.all_left)} left"
        return f"{self.phase}: {', '.join(parts)}"

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values; None is what nobody knows yet."""
        is_planned = self.is_planned
        return {
            "phase": self.phase,
            "count": f"{self.count()} {self.unit}".strip() if self.total else "",
            "share": self.share,
            "seconds_left": self.seconds_left,
            "whole_share": self.whole_share() if is_planned else None,
            "whole_seconds_left": self.all_left if is_planned else None,
        }


def clock_time(seconds: float) -> str:
    """As on a clock: 0:07, 12:30, 1:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def waiting_told(*, enabled: bool) -> Iterator[Progress]:
    """Within the block whoever waits is told how far a command is; nobody is unless `enabled`."""
    if os.environ.get(PROGRESS_VARIABLE) == AS_JSON:  # whoever asks for it also asks for --json
        with _in_lines(SECONDS_BETWEEN_OBJECTS, lambda tracker: note(json.dumps(tracker.as_dict()))) as tracker:
            yield tracker
    elif not enabled:
        yield SILENT
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _on_a_terminal() as tracker:
            yield tracker
    else:
        with _in_lines(SECONDS_BETWEEN_LINES, lambda tracker: complain(tracker.line())) as tracker:
            yield tracker


@contextmanager
def _in_lines(seconds: float, say: Callable[[Tracker], None]) -> Iterator[Tracker]:
    """A line every so many seconds, from a thread of its own: a phase may take long before it advances."""
    tracker, is_over = Tracker(), threading.Event()

    def tell() -> None:
        while not is_over.wait(seconds):
            if tracker.phase:
                say(tracker)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield tracker
    finally:
        is_over.set()
        thread.join()


@contextmanager
def _on_a_terminal() -> Iterator[Tracker]:
    """A row for the phase and one for the whole; phases that are over stay above them, with the time that they took."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    tracker = Tracker(ended=lambda line: console.print(Text(line)))
    with Live(get_renderable=lambda: _rows(tracker), console=console, refresh_per_second=REFRESHES, transient=True):
        yield tracker
        tracker.plan({})  # ends the last phase


def _rows(tracker: Tracker) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Column, Table

    widths = (NAME_WIDTH, COUNT_WIDTH, BAR_WIDTH, 5, None)
    grid = Table(
        *(Column(width=width, no_wrap=True, overflow="ellipsis") for width in widths),
        box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False,
    )  # fmt: skip
    if tracker.phase:
        share, left = tracker.share, tracker.seconds_left
        grid.add_row(
            tracker.phase,
            tracker.count(),
            ProgressBar(1, share or 0, width=BAR_WIDTH, pulse=share is None),
            "" if share is None else f"{100 * share:.0f} %",
            clock_time(tracker.seconds) if left is None else f"{clock_time(left)} left",
        )
    if tracker.is_planned:
        whole, all_left = tracker.whole_share(), f"{clock_time(tracker.all_left)} left"
        grid.add_row("all of it", "", ProgressBar(1, whole, width=BAR_WIDTH), f"{100 * whole:.0f} %", all_left)
    return grid
