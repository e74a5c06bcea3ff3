"""Write the table of comparison methods in docs/benchmarks.md, from the index of baselines and the committed rows.

python -m docs.generate.methods
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.result_files import FOLDER, read_result
from cavga.benchmark.baselines.index import BASELINES, LABELLED, Baseline
from cavga.benchmark.tables.files import markdown_table
from cavga.benchmark.tables.reported import load_reported
from cavga.benchmark.tables.table_1 import Method, build_method

PAGE = Path(__file__).parents[1] / "benchmarks.md"
BEGIN, END = "<!-- comparison methods -->\n", "<!-- end of comparison methods -->\n"
RESULT = "methods"
SIZE = (32, 32)
HEAD = ("method", "paper", "what was chosen", "parameters", "reported / ours")
OF_TEXT = {"cnnfd": 0.78, "ti": 0.76, "vm": 0.77}  # mean pixel AUROC of MVTec AD, from the text's differences
ELSEWHERE = (("table3", "mean AUROC", "MVTec AD, mean pixel AUROC"), ("table5", "IoU", "LAG, IoU"))


def table() -> str:
    """The table, in Markdown."""
    return markdown_table(HEAD, [_line(kind, found) for kind, found in BASELINES.items() if found.paper]) + "\n"


def page() -> str:
    """docs/benchmarks.md with the table of now."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def _line(kind: str, found: Baseline) -> list[str]:
    graph = None if found.kind == LABELLED else build_method(Method(found.name, kind, None), SIZE)
    number = "the classifier's" if graph is None else f"{sum(p.numel() for p in graph.parameters()):,}"
    return [found.title, found.paper, found.chosen, number, "; ".join(_figures(kind, found)) or "- / -"]


def _figures(kind: str, found: Baseline) -> Iterator[str]:
    """What is reported, and the mean of our rows, a data set each."""
    rows = [row for row in _rows() if row["method"] == kind and not row["error"]]
    for data in dict.fromkeys(row["data"] for row in rows) or ["MNIST" if "table7" in found.tables else ""]:
        ours = [row for row in rows if row["data"] == data]
        section = "pixel" if "table3" in found.tables and data != "MNIST" else "image"
        figures = [row["metrics"][section]["auroc"] for row in ours]
        measured = f"{mean(figures):.3f}" if figures else "-"
        parts = sorted({row["normal_class"] for row in ours if row.get("normal_class")})
        where = f"{data} {', '.join(parts)}".strip()
        if data:
            yield f"{where}, {section} AUROC: {_reported(found, data)} / {measured}"
    if kind in OF_TEXT:
        yield f"MVTec AD, mean pixel AUROC: {OF_TEXT[kind]:.2f} (from the text) / -"
    for table_name, row, title in ELSEWHERE:
        elsewhere = load_reported(table_name)
        assert elsewhere is not None
        figure = elsewhere.grids[0].figures.get((row, elsewhere.counterparts.get(found.name, "")))
        if figure is not None:
            yield f"{title}: {figure.value:.2f} (recalled) / -"


def _reported(found: Baseline, data: str) -> str:
    """The mean over all classes of MNIST, of what the paper has there."""
    reported = load_reported("table7")
    assert reported is not None
    column = reported.counterparts.get(found.name, "")
    means = {grid.set_name: grid.figures.get((next(iter(grid.means)), column)) for grid in reported.grids}
    figure = means.get(data)
    return "-" if figure is None else f"{figure.value:.3f} (all classes, recalled)"


def _rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_result(RESULT)["rows"] if (FOLDER / f"{RESULT}.jsonl").is_file() else []
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
