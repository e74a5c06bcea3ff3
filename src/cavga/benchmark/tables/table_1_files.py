"""Table 1's files: JSON, Markdown, CSV, and one self-contained HTML page."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file
from cavga.benchmark.experiments.index import PROPERTIES_TABLE
from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.tables.files import bullets, markdown_table
from cavga.benchmark.tables.table_1 import NO, NOT_SHOWN, PROPERTIES, YES, property_rows
from cavga.rendering.html import fault_list, hint, write_page

TITLE = "Table 1: working properties"
TEXTS = (
    "The paper says that of the methods it lists only CAVGA has all four properties. Nothing is trained here.",
    "multiple modes: that one fitted model marks anomalies of different kinds, in several places of one image; the "
    "paper does not say what it means by it.",
    "pixel based: that the map has a value of its own for every pixel of the model's input. Maps of fewer patches, "
    "enlarged, are not, ours among them: the paper's z has 8 x 8 patches at 256 px (docs/claims.md). CNNFD alone "
    "scores patches that were cut out one by one. Map and latent are measured on the model as it is built.",
    "not shown: neither shown nor refuted by a test of ours; no method is trained to its end in a test.",
)
CLASSES = {YES: "yes", NO: "no", NOT_SHOWN: "unshown"}
STYLE = """
body { max-width: 100rem; } .answers td { text-align: left; white-space: normal; min-width: 9rem; }
.answers th { text-align: left; } .answers td:last-child { white-space: nowrap; }
.answers thead th { vertical-align: bottom; } .answers tbody th { white-space: nowrap; }
.yes { color: var(--good); font-weight: 600; } .no { color: var(--bad); font-weight: 600; }
.unshown { color: var(--dim); font-weight: 600; } .fault { color: var(--bad); } code { font-size: .85rem; }
"""


@dataclass(frozen=True)
class PropertiesRun:
    """What `write_properties` did."""

    rows: list[dict[str, Any]]
    files: list[Path]


def write_properties(output: Path, *, selection: Selection) -> PropertiesRun:
    """Measure what can be measured and write OUTPUT/table1.json, .md, .csv and .html, each whole."""
    refuse_file(output)
    rows = list(property_rows(selection))
    done = [row for row in rows if not row["error"]]
    tests = list(dict.fromkeys(a["test"] for row in done for a in row["properties"].values() if a["test"]))
    failed = [f"{row['cell']}: {row['error']}" for row in rows if row["error"]]
    paths = [output / f"{PROPERTIES_TABLE}.{suffix}" for suffix in ("json", "md", "csv", "html")]
    content = json.dumps({"table": PROPERTIES_TABLE, "rows": rows}, indent=1) + "\n"
    for path, text in zip(paths, (content, _markdown(done, tests, failed), _csv(done)), strict=False):
        atomic_write(path, text.encode())
    write_page(paths[-1], TITLE, "", _html(done, tests, failed), style=STYLE)
    return PropertiesRun(rows, paths)


def _markdown(rows: Sequence[dict[str, Any]], tests: Sequence[str], failed: Sequence[str]) -> str:
    head = ["", *PROPERTIES, "native map"]
    lines = [[row["cell"], *(_said(row["properties"][name], tests) for name in PROPERTIES), _grid(row)] for row in rows]
    parts = [f"# {TITLE}", markdown_table(head, lines), bullets(TEXTS), "## Tests"]
    parts.append("\n".join(f"{number}. `{test}`" for number, test in enumerate(tests, start=1)))
    parts += [f"## Rows that failed\n\n{bullets(failed)}"] if failed else []
    return "\n\n".join(parts) + "\n"


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "preset", "property", "answer", "why", "test", "input", "native map"])
    writer.writerows(
        [row["cell"], row["preset"] or "baseline", name, *answer.values(), _times(row["input"]), _times(row["grid"])]
        for row in rows
        for name, answer in row["properties"].items()
    )
    return text.getvalue()


def _html(rows: Sequence[dict[str, Any]], tests: Sequence[str], failed: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("method", *PROPERTIES, "native map"))
    body = "".join(
        f'<tr><th scope="row">{escape(row["cell"])}</th>{"".join(_cells(row, tests))}<td>{_grid(row)}</td></tr>'
        for row in rows
    )
    listed = "".join(f"<li><code>{escape(test)}</code></li>" for test in tests)
    return (
        f'<div class="scroll"><table class="answers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        + "".join(map(hint, TEXTS))
        + f"<section><h2>Tests that show it</h2><ol>{listed}</ol></section>"
        + fault_list("Rows that failed", failed)
    )


def _cells(row: dict[str, Any], tests: Sequence[str]) -> Iterator[str]:
    for name in PROPERTIES:
        answer = row["properties"][name]
        number = f" [{tests.index(answer['test']) + 1}]" if answer["test"] else ""
        why = f'<span class="hint">{escape(answer["why"])}{number}</span>'
        yield f'<td><span class="{CLASSES[answer["answer"]]}">{answer["answer"]}</span>{why}</td>'


def _said(answer: dict[str, str], tests: Sequence[str]) -> str:
    number = f" [{tests.index(answer['test']) + 1}]" if answer["test"] else ""
    return f"**{answer['answer']}**: {answer['why']}{number}"


def _grid(row: dict[str, Any]) -> str:
    return f"{_times(row['grid'])} at {_times(row['input'])} px"


def _times(sides: Sequence[int]) -> str:
    return " x ".join(str(side) for side in sides)
