"""The progress bar of training: losses and time left, on stderr and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from cavga.training import Progress


class TrainingBar:
    """One bar per training run; silent where there is no terminal."""

    def __init__(self, bar: rich_progress.Progress | None) -> None:
        self._bar, self._task, self._name = bar, TaskID(0), "training"

    def announce(self, name: str) -> None:
        """Start a new run called `name`."""
        self._name = name
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
    """A bar on stderr if it is a terminal and `enabled`, else a silent one."""
    if not (enabled and sys.stderr.isatty()):
        yield TrainingBar(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        yield TrainingBar(bar)
