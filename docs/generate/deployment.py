"""The section of docs/results.md about deployment.json: each ratio beside its bound."""

from typing import Any

TITLES = {
    "forward": "The whole graph against its encoder",
    "precision": "INT8 and fp16",
    "anomalib": "Beside anomalib's exports",
    "end to end": "From files to lines",
    "memory": "Memory",
}
NOTES = {
    "forward": """256 px photographs, uint8, in; score, decision, map and mask out. The encoder alone takes the same
and gives the maps of its stages. By multiplications alone the mixture of 4000 centres (1024 cells, 128 channels) is
about a quarter of this encoder, so 1.10 is out of reach with it; [decision 0017](decisions/0017-one-graph.md) says what
fewer centres cost. Node by node (ONNX Runtime's profile, batch 16, in units of the encoder alone): centres about 0.36,
means of 3 x 3 cells, written as shifted sums, 0.16, the resize in whole numbers 0.13, though these photographs have the
size already.
""",
    "precision": """The encoder in INT8, what stands on it in fp32. "Change" is of the image AUROC of raw scores on the
test images: thresholds have no part in it. A processor without VNNI multiplies bytes in three steps, and ranges are
halved so that sums do not overflow 16 bits. About 40 % of the time is not the encoder's: 1.8 would take an encoder four
times as fast.
""",
    "anomalib": """PaDiM (ResNet-18, 100 features), PatchCore (ResNet-18, layers 2 and 3, a bank of 32,768 patches: a
tenth of those of 320 images) and EfficientAD-S with random weights, written by anomalib's own exporter. All models ran
in turn in one process, each in the faster of the two runtimes. The encoder alone is the ceiling of every method on
these features. PatchCore has no row with batches of 16: its export has a
fixed batch.
""",
    "end to end": """{files} screws as PNG, 512 px. Ours is `cavga predict`'s function; anomalib's is `Engine.predict`
on the same files in a process of its own, without its pictures and without writing anything, with its default batch of
1 and with batches of 16.
""",
    "memory": """Files of 64 px, a model of 32 px, each number of images in a process of its own. One pair.
""",
}


def deployment(content: dict[str, Any]) -> str:
    """The section: a table for each part."""
    machine = dict(content["machine"])
    instructions = machine.pop("instructions")
    shown = ", ".join(f"{key} {value}" for key, value in machine.items())
    has = ", ".join(name for name, found in instructions.items() if found) or "none"
    lacks = ", ".join(name for name, found in instructions.items() if not found) or "none"
    parts = [
        "## What deployment costs\n",
        f"`python benchmarks/deployment.py`: {content['method']}. {shown}. Of the instructions that matter to INT8 the "
        f"processor has {has} and lacks {lacks}. It was shared with other work (its load is in the JSON): the "
        "milliseconds there are an order of magnitude, the ratios less so.\n",
    ]
    for name, title in TITLES.items():
        if name in content["parts"]:
            rows = content["parts"][name]["rows"]
            text = NOTES[name].format(files=content["files"])
            parts.append(f"### {title}\n\n{text}\n{_table(rows)}")
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| | median | quartiles | bound | within |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        if row["median"] is None:
            lines.append(f"| {row['what']} | - | {row['note']} | | |")
            continue
        quartiles = f"{row['lower_quartile']:.3f} to {row['upper_quartile']:.3f}" if "lower_quartile" in row else ""
        if "change" in row:
            quartiles = f"change {row['change']:+.4f}"
        lines.append(f"| {row['what']} | {row['median']:.3f} | {quartiles} | {_bound(row)} |")
    return "\n".join(lines) + "\n"


def _bound(row: dict[str, Any]) -> str:
    if "bound" not in row:
        return " |"
    sign, holds = ("≥", row["median"] >= row["bound"]) if row["at_least"] else ("≤", row["median"] <= row["bound"])
    return f"{sign} {row['bound']:.2f} | {'yes' if holds else 'no'}"
