"""The page about what serving costs, from results/serve.jsonl."""

from benchmarks.result_files import FOLDER, read_result
from docs.generate.tables import Page, Row, markdown

GOAL = 0.9  # of the bare graph's rate
METHOD = """
`python -m benchmarks.serve` sends photographs to [`cavga serve`](../service.md) from one or four clients, each with a
connection that stays, and calls the bare graph from as many threads, in one run: {method}. The photographs are
{photographs}; the model is `{variant}` with {encoder} at {size} px. Machine: {machine}. Other programs ran on it
meanwhile, so the rates are lower than it could do, and only ratios within a round say anything.
"""
LEADER = """
anomalib's side is `benchmarks/serve_anomalib.py`: its own PaDiM (ResNet-18, 256 px, random weights), by its own
exporter and its OpenVINOInferencer, behind one route of FastAPI; {versions}. It is another model than ours, and each
computes what it computes: the columns of the processor's time for one photograph say how much. The ratio is of what a
user gets, not of the servers alone. That route is held by one request at a time; ours scores several side by side.
"""


def serving() -> Page:
    """Requests a second beside the bare graph, and beside anomalib's inference behind a plain FastAPI."""
    title, asked = "Serving", "What does serving cost beyond the graph itself, and how does it compare?"
    if not (FOLDER / "serve.jsonl").is_file():
        return Page(title, asked, "", ("Not measured yet: `python -m benchmarks.serve RUN PHOTOGRAPHS --keep`.",))
    content = read_result("serve")
    rows, model = content["rows"], content["model"]
    met = sum(row["ratio"]["median"] >= GOAL for row in rows)
    found = f"Of the bare graph's rate `cavga serve` has {_range(rows)}; {met} of {len(rows)} rows reach {GOAL:g}."
    method = METHOD.format(
        method=content["method"], photographs=model["photographs"], variant=model["variant"],
        encoder=model["encoder"], size=" x ".join(map(str, model["image_size"])),
        machine=", ".join(f"{name} {value}" for name, value in content["machine"].items()),
    )  # fmt: skip
    parts = [f"## Beside the bare graph\n{method}\n{_beside_bare(rows)}"]
    beside = [row for row in rows if "anomalib" in row]
    if beside:
        found += " Beside anomalib's own inference behind a plain FastAPI it answers "
        found += ", ".join(
            f"{row['ratio_to_anomalib']['median']:.2f} times as many with {_clients(row)}" for row in beside
        )
        found += "."
        versions = ", ".join(f"{name} {value}" for name, value in content["anomalib"].items())
        parts.append(f"## Beside anomalib's inference\n{LEADER.format(versions=versions)}\n{_beside_leader(beside)}")
    return Page(title, asked, found, tuple(parts))


def _clients(row: Row) -> str:
    return f"{row['clients']} client{'s' if row['clients'] > 1 else ''}"


def _range(rows: list[Row]) -> str:
    ratios = [row["ratio"]["median"] for row in rows]
    return f"{min(ratios):.2f} to {max(ratios):.2f} (medians)"


def _spread(ratio: Row) -> str:
    return f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def _beside_bare(rows: list[Row]) -> str:
    head = [
        "what is sent",
        "clients",
        "bare, a second",
        "served, a second",
        "ratio",
        "served p50, ms",
        "served p99, ms",
    ]
    lines = [
        [row["what"], str(row["clients"]), f"{row['bare']['per_second']:.1f}", f"{row['served']['per_second']:.1f}",
         _spread(row["ratio"]), f"{row['served']['p50_ms']:.0f}", f"{row['served']['p99_ms']:.0f}"]
        for row in rows
    ]  # fmt: skip
    return markdown(head, lines)


def _beside_leader(rows: list[Row]) -> str:
    head = ["clients", "cavga serve, a second", "anomalib, a second", "ratio", "cavga p99, ms", "anomalib p99, ms",
            "cavga processor, ms", "anomalib processor, ms"]  # fmt: skip
    lines = [
        [str(row["clients"]), f"{row['served']['per_second']:.1f}", f"{row['anomalib']['per_second']:.1f}",
         _spread(row["ratio_to_anomalib"]), f"{row['served']['p99_ms']:.0f}", f"{row['anomalib']['p99_ms']:.0f}",
         f"{row['served']['cpu_ms']:.0f}", f"{row['anomalib']['cpu_ms']:.0f}"]
        for row in rows
    ]  # fmt: skip
    return markdown(head, lines)
