"""The progress bar of training: losses and time left, on stderr and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from cavga.cli.console import complain
from cavga.training.loop import Progress


class TrainingBar:
    """One bar per training run; where there is no terminal, one line per announced run."""

    def __init__(self, bar: rich_progress.Progress | None, *, is_silent: bool = False) -> None:
        self._bar, self._task, self._name = bar, TaskID(0), "training"
        self._is_silent = is_silent

    def announce(self, name: str) -> None:
        """Start a new run called `name`."""
        self._name = name
        if self._bar is None and not self._is_silent:
            complain(f"{name}: training")
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=None, losses="")

    def step(self, progress: Progress) -> None:
        """Show one finished step."""
        if self._bar is None:
            return
        if not self._bar.tasks:
            self.announce(self._name)
        done = progress.epoch * progress.num_steps + progress.step
        shown = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        self._bar.update(self._task, completed=done, total=progress.num_epochs * progress.num_steps, losses=shown)


@contextmanager
def training_progress(*, enabled: bool) -> Iterator[TrainingBar]:
    """A bar on stderr if it is a terminal; silent unless `enabled`."""
    if not (enabled and sys.stderr.isatty()):
        yield TrainingBar(None, is_silent=not enabled)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        yield TrainingBar(bar)
