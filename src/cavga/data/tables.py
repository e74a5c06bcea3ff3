"""Tables of images (.csv) as people have them: how their text, columns and words are read. No torch.

Spreadsheets, scripts and inspection machines name one thing in many ways. What is not plainly one of them is refused.
"""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cavga.data.folder_names import BAD, GOOD, meaning
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.errors import DataError
from cavga.regular_files import read_regular

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

MANIFEST_COLUMNS = ("image", "label", "mask", "split", "category", "group", "defect_type")
HASH_COLUMN = "sha256"  # written by every run; accepted and not used when read as data
_SEPARATORS = ",;\t"  # where a comma is the decimal sign, spreadsheets write semicolons
_NAMES = {
    "image": (
        *("image", "images", "path", "file", "filename", "filepath"),
        *("file_name", "file_path", "image_path", "image_file", "image_name"),
    ),
    "label": ("label", "class"),
    "mask": ("mask", "mask_path"),
    "split": ("split", "subset"),
    **{name: (name,) for name in ("category", "group", "defect_type", HASH_COLUMN)},
}  # column -> what it is called
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names}
_NUMBERS = {"0": NORMAL, "1": ANOMALOUS, "0.0": NORMAL, "1.0": ANOMALOUS}  # floats: pandas, once one is empty
_ALIKE = 0.75  # from here on a column's name is likely a known one, misspelt
_AS_WRITTEN = ("image", "mask")

Line = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class Table:
    """A table of images; every line has all columns, with "" where it says nothing."""

    columns: frozenset[str]
    """Those of MANIFEST_COLUMNS and HASH_COLUMN that are there."""
    unused: tuple[str, ...]
    """The names of other columns."""
    lines: tuple[Line, ...]
    """(line number, column -> text), empty lines left out."""


def read_table(path: Path) -> Table:
    """Read a table; blanks around a text are left out, but for names of files: those may begin and end with them."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    try:
        names = [name.strip() for name in next(reader, [])]
        columns = [_column_of(name) for name in names]
        _check_columns(names, columns, path)
        lines = tuple(_lines(reader, columns, path))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}; mend that line") from error
    unused = tuple(name for name, column in zip(names, columns, strict=True) if name and column is None)
    return Table(frozenset(column for column in columns if column is not None), unused, lines)


def stream_table(file: IO[bytes], name: str) -> Iterator[Line]:
    """The lines of a table of any length as `read_table` has them, one after the other; UTF-8 alone."""
    head = file.readline()
    errors = "surrogateescape" if HASH_COLUMN.encode() in head else "strict"  # what a run wrote names files by bytes
    rest = io.TextIOWrapper(file, encoding="utf-8", errors=errors, newline="")
    try:
        first = head.decode("utf-8-sig", errors)
        reader = csv.reader(chain([first], rest), strict=True, delimiter=_separator(first))
        names = [cell.strip() for cell in next(reader, [])]
        columns = [_column_of(cell) for cell in names]
        _check_columns(names, columns, name)
        yield from _lines(reader, columns, name)
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: not valid CSV: {error}; mend that line") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text; save it as 'CSV UTF-8'") from error
    finally:
        rest.detach()  # whoever opened the file closes it


def lists_images(path: Path) -> bool:
    """Whether a file's first line is that of a table of images."""
    try:
        text = _text(path)
    except DataError:
        return False
    return "image" in map(_column_of, _cells(text.partition("\n")[0], _separator(text)))


def label_of(text: str) -> int | None:
    """NORMAL or ANOMALOUS: 0, 1, or a word that a folder could be called, such as good, ng or n.i.O.; else None."""
    return _NUMBERS.get(text, {GOOD: NORMAL, BAD: ANOMALOUS}.get(meaning(text) or ""))


def _lines(reader: "CsvReader", columns: Sequence[str | None], path: Path | str) -> Iterator[Line]:
    for cells in reader:
        kinds = [*columns, *[None] * (len(cells) - len(columns))]
        texts = [cell if kind in _AS_WRITTEN else cell.strip() for cell, kind in zip(cells, kinds, strict=False)]
        if any(texts[len(columns) :]):
            raise DataError(
                f"{path}, line {reader.line_num}: {len(texts)} cells, but {len(columns)} columns; "
                "put a path that has a comma in quotes"
            )
        if any(text.strip() for text in texts):
            row = dict.fromkeys((*MANIFEST_COLUMNS, HASH_COLUMN), "")
            row |= {name: text for name, text in zip(columns, texts, strict=False) if name is not None}
            yield reader.line_num, row


def _text(path: Path) -> str:
    try:
        content = read_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the path and its rights") from error
    # What a run wrote names files by their bytes; what a program saved in another encoding does not.
    is_of_run = HASH_COLUMN.encode() in content.partition(b"\n")[0]
    is_utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # what spreadsheets call Unicode text
    try:
        if is_utf_16:
            return content.decode("utf-16")
        return content.decode("utf-8-sig", "surrogateescape" if is_of_run else "strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; save it as 'CSV UTF-8'") from error


def _separator(text: str) -> str:
    """What separates the cells: with it the first line has the most known names."""
    head = text.partition("\n")[0]
    return max(_SEPARATORS, key=lambda sign: (sum(map(bool, map(_column_of, _cells(head, sign)))), head.count(sign)))


def _cells(head: str, sign: str) -> list[str]:
    return [name.strip().strip('"') for name in head.split(sign)]


def _column_of(name: str) -> str | None:
    """What a column of this name holds; None where it is not known."""
    return _COLUMN_OF.get("_".join(name.casefold().replace("-", " ").split()))


def _check_columns(names: Sequence[str], columns: Sequence[str | None], path: Path | str) -> None:
    place = f"{path}, line 1"
    for name, column in zip(names, columns, strict=True):
        near = difflib.get_close_matches(name.casefold(), [] if column else list(_COLUMN_OF), n=1, cutoff=_ALIKE)
        if near:
            raise DataError(f"{place}: unknown column {name!r}; write {near[0]!r} if that is meant, or remove it")
        if column is not None and columns.count(column) > 1:
            raise DataError(f"{place}: column {name!r} is there twice, as {column}; remove one")
    if "image" not in columns:
        raise DataError(f"{place}: no column 'image', 'path' or 'file'; the first line must name the columns")
    if {"score", "verdict"} <= set(names) and "label" not in columns:
        raise DataError(f"{path}: says what `cavga predict` found, not what is true; add a column label to use it")
