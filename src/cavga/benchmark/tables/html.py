"""A table as one self-contained page: values shaded by their rank in the row, as in the paper."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from cavga.benchmark.tables.content import GIVEN, REPORTED, TableContent, compared, mark_of, marks, value_text
from cavga.benchmark.tables.curve import STYLE as CURVE_STYLE
from cavga.benchmark.tables.curve import curve_section
from cavga.benchmark.tables.grids import GIVEN_GROUP, REPORTED_GROUP, Column, Grid
from cavga.benchmark.tables.lines import Record, origins
from cavga.rendering.html import fault_list, write_page

MOST_SHADE = 55  # % of colour behind the best value of a row: text stays readable on it
TEXTS = {"model", "part", "reported", "note", "code", "data", "images", "thresholds"}  # set to the left
STYLE = f"""
body {{ max-width: 112rem; }} .values {{ width: auto; }} .values td, .values th {{ padding: .3rem .55rem; }}
.values thead th {{ vertical-align: bottom; max-width: 7.5rem; min-width: 3.6rem; overflow-wrap: normal; }}
.values th:first-child, .values td:first-child {{ position: sticky; left: 0; background: var(--ground);
  padding-left: 0; white-space: nowrap; }}
.values thead .group {{ border-bottom: 2px solid var(--rule); text-align: left; color: var(--ink); font-weight: 600;
  max-width: none; }}
.values .group span {{ font-weight: 400; color: var(--dim); }}
.values .first {{ border-left: 2px solid var(--rule); }}
.values .mean th, .values .mean td {{ border-top: 2px solid var(--dim); }}
.values .mean + .mean th, .values .mean + .mean td {{ border-top: 0; }}
[style] {{ background: color-mix(in srgb, var(--normal) calc(var(--rank) * {MOST_SHADE}%), transparent); }}
.values td .hint {{ color: inherit; }}
.lines td.text {{ white-space: normal; }} .lines .text {{ text-align: left; }} .fault {{ color: var(--bad); }}
.marks p {{ margin: .35rem 0; max-width: 74rem; }} .key i {{ display: inline-block; width: 1.6rem; height: .8rem;
  border: 1px solid var(--rule); vertical-align: -.1rem; margin-right: .1rem; }}
"""


def write_html(path: Path, content: TableContent, grids: Sequence[Grid], lines: Sequence[Record]) -> None:
    """Write the page, whole."""
    trouble = [fault_list(title, texts) for title, texts in content.trouble]
    mark = "" if content.reported is None else content.reported.mark
    tables = [f"<section>{_grid(grid, mark)}</section>" for grid in grids]
    key = "".join(f'<i style="--rank:{rank}"></i>' for rank in (0, 0.25, 0.5, 0.75, 1))
    said = "".join(f"<p>{escape(text)}</p>" for text in marks(content, lines))
    below = f'<div class="marks hint"><p class="key">worst of a row {key} best, by rank</p>{said}</div>'
    details = [
        f"<section><h2>{title}</h2>{html_lines(rows)}</section>"
        for title, rows in (
            ("Measured beside reported, and what it cost", compared(lines)),
            ("Where the figures come from", list(origins(content.rows))),
        )
        if rows
    ]
    body = "".join([curve_section(content.rows), *tables, below, *trouble, *details])
    write_page(path, content.title, f"<p>{escape(content.state)}</p>", body, style=STYLE + CURVE_STYLE)


def _grid(grid: Grid, mark: str) -> str:
    groups = [
        (name, [column for column in grid.columns if column.group == name])
        for name in dict.fromkeys(column.group for column in grid.columns)
    ]
    titles = {
        REPORTED_GROUP: f"reported {REPORTED} <span>({escape(mark)})</span>",
        GIVEN_GROUP: f"given {GIVEN}",
    }
    firsts = {columns[0].name for _, columns in groups}
    group = "".join(
        f'<th scope="colgroup" colspan="{len(columns)}" class="group first">{titles.get(name, name)}</th>'
        for name, columns in groups
    )
    head = "".join(f'<th scope="col"{_border(column, firsts)}>{_unbroken(column.name)}</th>' for column in grid.columns)
    rows = "".join(_row(grid, row, firsts) for row in grid.metrics)
    return (
        f'<h2>{escape(grid.title)}</h2><div class="scroll"><table class="values"><thead><tr><td></td>{group}</tr>'
        f"<tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(grid: Grid, row: str, firsts: set[str]) -> str:
    ranks, best, cells = grid.ranks(row), grid.best(row), []
    for column in grid.columns:
        entry = grid.entries.get((row, column.name))
        text = "" if entry is None else f"{entry.value:.3f}"
        text = f"<b>{text}</b>" if column.name in best else text
        shade = f' style="--rank:{ranks[column.name]:.2f}"' if column.name in ranks and len(ranks) > 1 else ""
        given = f" {GIVEN}" if mark_of(entry) == GIVEN else ""  # of the others the head of the group says it
        below = "".join(f'<span class="hint">{part}</span>' for part in value_text(entry).split(" ", 1)[1:])
        cells.append(f"<td{_border(column, firsts)}{shade}>{text}{given}{below}</td>")
    kind = ' class="mean"' if row in grid.means else ""
    return f'<tr{kind}><th scope="row">{escape(grid.label(row))}</th>{"".join(cells)}</tr>'


def _unbroken(name: str) -> str:
    """A name that breaks at spaces alone."""
    return escape(name.replace("-", "\N{NON-BREAKING HYPHEN}"))


def _border(column: Column, firsts: set[str]) -> str:
    return ' class="first"' if column.name in firsts else ""


def html_lines(rows: Sequence[dict[str, Any]]) -> str:
    """A table of texts: column -> text."""
    kinds = {name: ' class="text"' if name in TEXTS else "" for name in rows[0]}
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for name, kind in kinds.items())
    body = "".join(
        "<tr>" + "".join(f"<td{kinds[name]}>{escape(str(value))}</td>" for name, value in row.items()) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table class="lines"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
