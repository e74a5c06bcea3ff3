"""Everything that can go wrong in a way the user can mend, each with the command's exit code.

CavgaError                 1   something failed; the message says what and what to do
├── UsageError             2   a flag, a name or a setting is wrong; no data was touched
├── DataError              3   the images, masks or manifest are missing, empty or broken
│   └── ImageFileError     3   one file cannot be read; it lives in cavga.images.decode, beside what raises it
├── ModelFileError         1   a model or weights file is missing, corrupt or not one of ours
├── ResumeError            1   the run cannot go on: its data or its configuration changed
├── TrainingError          1   the loss is not finite any more
├── ExportError            1   an exported graph does not say what the model says
├── NotWrittenError        1   a file could not be written; it lives in cavga.atomic_files
├── BusyError              1   another command is writing to the same place; it lives in cavga.output_lock
└── MissingExtraError      1   an optional part of the installation is needed
"""

import difflib
from collections.abc import Iterable

from cavga.printable import printable

ALIKE = 0.6  # from here on a name is likely a slip of the finger away


class CavgaError(Exception):
    """Root of the tree: catch this to catch every error that cavga raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """The message as one line: names of files are part of it, and they can hold anything."""
        return printable(super().__str__())


class UsageError(CavgaError, ValueError):
    """A flag, a name or a setting is wrong."""

    exit_code = 2


class DataError(CavgaError, ValueError):
    """Images, masks or a manifest are missing, empty or broken."""

    exit_code = 3


class ModelFileError(CavgaError, ValueError):
    """A model or weights file is missing, corrupt, or not one that cavga wrote or can read."""


class ResumeError(CavgaError, ValueError):
    """A run cannot be resumed because what it was started from has changed."""


class TrainingError(CavgaError, ArithmeticError):
    """Training has diverged."""


class ExportError(CavgaError):
    """An exported graph does not say what the model says."""


class MissingExtraError(CavgaError, ImportError):
    """A package that only an optional part of the installation brings is not there."""


def unknown_name(what: str, got: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a list: says the valid ones as they are listed, those like it first."""
    likeness = {name: difflib.SequenceMatcher(None, got, name).ratio() for name in known}
    names = sorted(likeness, key=lambda name: -likeness[name] if likeness[name] >= ALIKE else 0.0)
    return UsageError(f"unknown {what} {got!r}: expected one of {', '.join(names)}")
