"""RUN/marks.csv: photographs that a person called bad or good after training, oldest first. No torch."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cavga.atomic_files import atomic_write
from cavga.errors import ModelFileError
from cavga.regular_files import read_regular

MARKS_FILE = "marks.csv"
COLUMNS = ("path", "sha256", "label", "type", "when")
BAD, GOOD, WITHDRAWN = "bad", "good", "withdrawn"
LABELS = (BAD, GOOD, WITHDRAWN)


@dataclass(frozen=True)
class Mark:
    """What was said of a photograph; `when` is ISO 8601 in UTC."""

    path: str
    """Absolute."""
    sha256: str
    label: str
    """One of LABELS."""
    type: str
    """The name of the defect, "" where none was given."""
    when: str


def read_marks(run: Path) -> list[Mark]:
    """All lines of the file, oldest first; none where there is no file. Raises ModelFileError."""
    path = run / MARKS_FILE
    try:
        # Spreadsheets put a byte order mark in front of what they save.
        text = read_regular(path).decode("utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        return []
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row] or [[]]
        if tuple(header) != COLUMNS:
            raise ValueError("its first line is another one")
        marks = [Mark(*row) for row in rows]
        if any(mark.label not in LABELS for mark in marks):
            raise ValueError(f"a label is none of {', '.join(LABELS)}")
    except (ValueError, TypeError, csv.Error) as error:
        raise ModelFileError(
            f"{path} is not a file of `cavga mark` ({error}): expected the columns {', '.join(COLUMNS)}; mend it, or "
            "copy it from the version in use"
        ) from None
    return marks


def marks_in_force(marks: Iterable[Mark]) -> dict[str, Mark]:
    """The last mark of every photograph, by its sha256, without those that were withdrawn."""
    last: dict[str, Mark] = {}
    for mark in marks:
        last.pop(mark.sha256, None)
        if mark.label != WITHDRAWN:
            last[mark.sha256] = mark
    return last


def write_marks(run: Path, marks: Iterable[Mark]) -> None:
    """Write RUN/marks.csv, whole."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([mark.path, mark.sha256, mark.label, mark.type, mark.when] for mark in marks)
    atomic_write(run / MARKS_FILE, text.getvalue().encode(errors="surrogateescape"))
