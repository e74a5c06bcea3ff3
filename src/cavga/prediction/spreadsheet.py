"""predictions.csv: the lines of predictions.jsonl as a table for spreadsheets, without the places of regions.

UTF-8 with the mark that spreadsheets of Windows need to read it so; pandas and R take it. Cells that a spreadsheet
would run as a formula are written so that it does not, and so that a path still names its file.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cavga.atomic_files import atomic_writer
from cavga.inference.lines import PredictionLine

TABLE_FILE = "predictions.csv"
COLUMNS = ("path", "verdict", "score", "threshold", "p_value", "num_regions", "overlay", "map", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a text that begins so, or with blanks before it, is run
_HEAD = "\ufeff" + ",".join(COLUMNS) + "\r\n"


class TableFile:
    """A table that is being written, line by line."""

    def __init__(self, file: BinaryIO | io.BytesIO) -> None:
        self._file = file
        file.write(_HEAD.encode())

    def add(self, line: PredictionLine) -> None:
        """One image; what is not known is an empty cell."""
        verdict = {None: None, True: "anomalous", False: "normal"}[line.is_anomalous]
        more = line.more
        cells = (
            _harmless(line.path), verdict, line.score, line.threshold, line.p_value, more.get("num_regions"),
            more.get("overlay"), more.get("map"), _harmless(line.error),
        )  # fmt: skip
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerow("" if cell is None else cell for cell in cells)
        self._file.write(text.getvalue().encode(errors="backslashreplace"))  # as in predictions.jsonl


@contextmanager
def table_writer(path: Path) -> Iterator[TableFile]:
    """A table that appears at `path` when the block ends, whole or not at all."""
    with atomic_writer(path) as file:
        yield TableFile(file)


def is_table_file(path: Path) -> bool:
    """Whether there is a file that `table_writer` wrote, by its first line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_HEAD.encode())) == _HEAD.encode()


def _harmless(text: str | None) -> str | None:
    """A text as it is, unless a spreadsheet would run it: then the path of the same file, from here."""
    return f"./{text}" if text is not None and text.lstrip(" ").startswith(_FORMULA) else text
