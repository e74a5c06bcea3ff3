"""The committed results, benchmarks/results/NAME.jsonl: how they are written and read.

A result is a JSON object. The first line is that object with its lists of rows left empty. Every further line is one
row: `list` names the list that it belongs to (for a nested list its path, parts separated by "/"), the rest is the row.
So a change of one row is a change of one line, and nothing is lost.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write

FOLDER = Path(__file__).parent / "results"
LIST = "list"  # the key that names a row's list; no row has it otherwise


def read_result(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The object of NAME.jsonl, its lists filled."""
    content: dict[str, Any]
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as file:
        content, *rows = (json.loads(line) for line in file)
    for row in rows:
        place: Any = content
        for key in row.pop(LIST).split("/"):
            place = place[key]
        place.append(row)
    return content


def write_result(name: str, content: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Write NAME.jsonl, whole."""
    found = list(lists_of(content))
    lines = [_without_rows(content), *({LIST: path, **row} for path, rows in found for row in rows)]
    target = folder / f"{name}.jsonl"
    atomic_write(target, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
    return target


def lists_of(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Every list of rows of the object, with its path."""
    for key, value in content.items():
        if _is_list_of_rows(value):
            if "/" in key or any(LIST in row for row in value):
                raise ValueError(f"{path}{key}: a list of rows has no / in its name, and no row a key {LIST!r}")
            yield f"{path}{key}", value
        elif isinstance(value, Mapping):
            yield from lists_of(value, f"{path}{key}/")


def _without_rows(content: Mapping[str, Any]) -> dict[str, Any]:
    left: dict[str, Any] = {}
    for key, value in content.items():
        if _is_list_of_rows(value):
            left[key] = []
        else:
            left[key] = _without_rows(value) if isinstance(value, Mapping) else value
    return left


def _is_list_of_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
