"""A table's files: JSON, Markdown, CSV, and one self-contained HTML page."""

import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write
from cavga.benchmark.tables.content import MARKS, TableContent, compared, mark_of, marks, value_text
from cavga.benchmark.tables.grids import Grid, make_grids
from cavga.benchmark.tables.html import write_html
from cavga.benchmark.tables.lines import Record, as_csv, origins, records


def write_table(output: Path, content: TableContent) -> list[Path]:
    """Write OUTPUT/<table>.json, .md, .csv and .html, each whole; returns their paths."""
    grids = make_grids(content.rows, content.reported)
    lines = records(content.name, grids, mark="" if content.reported is None else content.reported.mark)
    found = {"table": content.name, "machine": platform.machine(), "absent": content.absent, "rows": content.rows}
    paths = [output / f"{content.name}.{suffix}" for suffix in ("json", "md", "csv", "html")]
    atomic_write(paths[0], (json.dumps(found, indent=1) + "\n").encode())
    atomic_write(paths[1], _markdown(content, grids, lines).encode())
    atomic_write(paths[2], as_csv(lines).encode())
    write_html(paths[3], content, grids, lines)
    return paths


def _markdown(content: TableContent, grids: Sequence[Grid], lines: Sequence[Record]) -> str:
    parts = [f"# {content.title}", content.state]
    for grid in grids:
        parts += [f"## {grid.title}", markdown_grid(grid)]
    parts.append(bullets(marks(content, lines)))
    for title, texts in content.trouble:
        parts += [f"## {title}", bullets(texts)]
    for title, rows in (
        ("Measured beside reported, and what it cost", compared(lines)),
        ("Where the figures come from", list(origins(content.rows))),
    ):
        if rows:
            parts += [f"## {title}", markdown_table(list(rows[0]), [row.values() for row in rows])]
    return "\n\n".join(parts) + "\n"


def markdown_grid(grid: Grid) -> str:
    """The values of a grid as a table in Markdown, figures that were not measured here marked."""
    head = ["", *(f"{column.name} {MARKS.get(column.group, '')}".strip() for column in grid.columns)]
    return markdown_table(head, [_grid_row(grid, row) for row in grid.metrics])


def _grid_row(grid: Grid, row: str) -> list[str]:
    best, cells = grid.best(row), [grid.label(row)]
    for column in grid.columns:
        entry = grid.entries.get((row, column.name))
        text = value_text(entry)
        cells.append(f"{f'**{text}**' if column.name in best else text} {mark_of(entry)}".strip())
    return cells


def bullets(texts: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {text}" for text in texts)


def markdown_table(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown."""
    body = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *body])
