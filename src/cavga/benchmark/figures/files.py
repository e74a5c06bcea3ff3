"""A figure's two files: one self-contained page, and the same as JSON."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write
from cavga.benchmark.experiments.selection import Selection
from cavga.benchmark.figures.strips import STYLE as STRIP_STYLE
from cavga.benchmark.tables.content import TableContent
from cavga.benchmark.tables.grids import Row, place_of, value_of
from cavga.benchmark.tables.html import STYLE, html_lines
from cavga.benchmark.tables.lines import split_of, thresholds_of
from cavga.rendering.html import fact_line, fault_list, write_page


@dataclass(frozen=True)
class Drawing:
    """What a figure's module makes of its runs."""

    body: str
    """HTML."""
    facts: dict[str, Any]
    """The same in numbers, for the JSON."""


def write_figure(output: Path, title: str, command: str, content: TableContent, drawing: Drawing) -> list[Path]:
    """Write OUTPUT/<figure>.html and .json, each whole; returns their paths."""
    paths = [output / f"{content.name}.{suffix}" for suffix in ("html", "json")]
    found = {"figure": content.name, "command": command, "machine": platform.machine(), "absent": content.absent,
             **drawing.facts, "rows": content.rows}  # fmt: skip
    trouble = "".join(fault_list(heading, texts) for heading, texts in content.trouble)
    done = [row for row in content.rows if not row["error"]]
    origin = f"<section><h2>What was run</h2>{html_lines([_origin(row) for row in done])}</section>" if done else ""
    header = f"<p>{escape(content.state)}</p>{fact_line('Run', _settings(done))}{command_line(command)}"
    write_page(paths[0], title, header, drawing.body + trouble + origin, style=STYLE + STRIP_STYLE)
    atomic_write(paths[1], (json.dumps(found, indent=1) + "\n").encode())
    return paths


def command_of(figure: str, selection: Selection) -> str:
    """The command that made the figure, without the folders of this machine."""
    parts = [f"cavga benchmark {figure} --data ROOT --output DIR"]
    for name in ("datasets", "categories", "variants"):
        if getattr(selection, name):
            parts.append(f"--{name} {','.join(getattr(selection, name))}")
    parts += [f"--preset {selection.preset}"] if selection.preset else []
    parts += [f"--seeds {selection.seeds[0]}"]
    parts += [f"--epochs {selection.epochs}"] if selection.epochs else []
    parts += [f"--weights {Path(selection.weights).name}"] if selection.weights else []
    return " ".join(parts)


def command_line(command: str) -> str:
    """The command as HTML."""
    return f'<p class="hint">Made with <code>{escape(command)}</code></p>'


def _settings(rows: Sequence[Row]) -> dict[str, str]:
    """What the experiments were run with, in a line: what differs between them is listed."""
    found = {
        "preset": [row["preset"] for row in rows],
        "epochs": [str(row.get("epochs", "-")) for row in rows],
        "seed": [str(row["seed"]) for row in rows],
        "data": [place_of(row) for row in rows],
        "note": [row["note"] for row in rows if row["note"]],
    }
    return {name: ", ".join(dict.fromkeys(values)) for name, values in found.items() if values}


def _origin(row: Row) -> dict[str, Any]:
    """One finished experiment: what it is and what it measures."""
    origin = row["metrics"].get("provenance", {})
    return {
        "model": row["cell"],
        "part": place_of(row),
        "preset": row["preset"],
        "epochs": row.get("epochs", "-"),
        "seed": row["seed"],
        "IoU": _number(value_of(row, "iou")),
        "pixel AUROC": _number(value_of(row, "pixel_auroc")),
        "images": split_of(row),
        "thresholds": thresholds_of(row),
        "code": row.get("code") or "-",
        "data": (origin.get("data_sha256") or "-")[:12],
        "note": row["note"],
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
