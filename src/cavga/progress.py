"""How far a long piece of work is, as it says it itself; who shows it is no business of the work.

What takes long has a parameter `progress`, begins one phase after the other and advances. By default nobody looks.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")


@runtime_checkable
class Progress(Protocol):
    """Whoever is told how far a piece of work is."""

    def plan(self, seconds: Mapping[str, float]) -> None:
        """Say about how long each of the phases that follow will take, by its name, in their order."""

    def begin(self, phase: str, total: int | None = None, unit: str = "", *, done: int = 0) -> None:
        """Begin a phase, which ends the one before.

        `total` is how many of `unit` it has, None where nobody knows; so many were `done` by an earlier run.
        """

    def advance(self, amount: float = 1.0) -> None:
        """Say that so much more of the phase's total is done."""


class Silent:
    """Tells nobody."""

    def plan(self, seconds: Mapping[str, float]) -> None:
        """Nothing."""

    def begin(self, phase: str, total: int | None = None, unit: str = "", *, done: int = 0) -> None:
        """Nothing."""

    def advance(self, amount: float = 1.0) -> None:
        """Nothing."""


SILENT = Silent()


def counted(items: Iterable[Item], progress: Progress, amount: float = 1.0) -> Iterator[Item]:
    """The items; `progress` advances when the next one is asked for."""
    for item in items:
        yield item
        progress.advance(amount)


def in_words(seconds: float) -> str:
    """A duration as people say it: "40 seconds", "3 minutes", "1 hour 20 minutes"."""
    if seconds < 55:
        return _of(max(1, round(seconds)), "second")
    minutes = round(seconds / 60)
    if minutes < 60:
        return _of(minutes, "minute")
    hours, rest = divmod(minutes, 60)
    return _of(hours, "hour") + (f" {_of(rest, 'minute')}" if rest else "")


def _of(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
