"""The page about what prediction costs: deployment, speed and base_install, each figure beside its bound."""

from collections.abc import Sequence
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import Page, markdown

Row = dict[str, Any]

TITLES = {
    "forward": "The whole graph against its encoder",
    "precision": "INT8 and fp16",
    "anomalib": "Beside anomalib's exports",
    "end to end": "From files to lines",
    "memory": "Memory",
}
NOTES = {
    "forward": """
Photographs of 256 px, uint8, go in; score, decision, map and mask come out. The encoder alone takes the same and
gives the maps of its stages.

- By multiplications alone the mixture of 4000 centres (1024 patches, 128 channels) is about a quarter of this
  encoder. So 1.10 is out of reach with it; [decision 0017](../decisions/0017-one-graph.md) says what fewer centres
  cost.
- Node by node (ONNX Runtime's profile, batch 16, in units of the encoder alone): centres about 0.36; means of 3 x 3
  patches, written as shifted sums, 0.16; the resize in whole numbers 0.13, though these photographs have the size
  already.
""",
    "precision": """
The encoder is in INT8, what stands on it in fp32. "Change" is of the image AUROC of raw scores on the test images:
thresholds have no part in it.

- A processor without VNNI multiplies bytes in three steps, and ranges are halved so that sums do not overflow 16
  bits.
- About 40 % of the time is not the encoder's: 1.8 would take an encoder four times as fast.
""",
    "anomalib": """
PaDiM (ResNet-18, 100 features), PatchCore (ResNet-18, layers 2 and 3) and EfficientAD-S have random weights and were
written by anomalib's own exporter. PatchCore's bank has 32,768 patches, a tenth of those of 320 images. All models
ran in turn in one process, each in the faster of the two runtimes. The encoder alone is the ceiling of every method
on these features. PatchCore has no row with batches of 16: its export has a fixed batch.
""",
    "end to end": """
{files} screws as PNG, 512 px. Ours is `cavga predict`'s function. anomalib's is `Engine.predict` on the same files in
a process of its own, without its pictures and without writing anything, with its default batch of 1 and with batches
of 16.
""",
    "memory": """
Files of 64 px, a model of 32 px, each number of images in a process of its own. One pair.
""",
}
SPEED = """
`python -m benchmarks.speed`: {method}. R to layer3, 256 px, `recommended`. {machine}.
"""
DEPLOYMENT = """
`python -m benchmarks.deployment`: {method}. {machine}. Of the instructions that matter to INT8 the processor has
{has} and lacks {lacks}. It was shared with other work (its load is in the JSONL): milliseconds there are an order of
magnitude, the ratios less so.
"""
BASE_INSTALL = """
`make test-base`: `pip install .` without extras in a fresh environment; bytecode is counted, pip is not. Scores are
those of `cavga predict` there with an exported model ({count} photographs, `recommended`, 64 px, no weights) against
torch's. That command took {seconds:.1f} s on a shared machine. Python {python} on {platform}; {packages}; torch
{torch}.
"""


def deployment_page() -> Page:
    """The page of deployment, base_install and speed."""
    content, base, speed = read_result("deployment"), read_result("base_install"), read_result("speed")
    graph = [row["median"] for row in content["parts"]["forward"]["rows"]]
    measured = [row for part in content["parts"].values() for row in part["rows"] if row["median"] is not None]
    bounded = [row for row in measured if "bound" in row]
    installed = next(row["value"] for row in base["rows"] if row["what"] == "MB installed")
    return Page(
        "Deployment: time, memory and size",
        "What does prediction cost beyond its encoder, beside anomalib's exports, and without torch?",
        f"The whole exported graph takes {min(graph):.2f} to {max(graph):.2f} times its encoder alone, and "
        f"{sum(map(_holds, bounded))} of the {len(bounded)} bounds that were set for deployment hold. Without torch an "
        f"installation takes {installed:.0f} MB.",
        (deployment(content), base_install(base), speed_section(speed)),
    )


def deployment(content: dict[str, Any]) -> str:
    """The section of deployment: a table for each part."""
    machine = dict(content["machine"])
    instructions = machine.pop("instructions")
    text = DEPLOYMENT.format(
        method=content["method"],
        machine=", ".join(f"{key} {value}" for key, value in machine.items()),
        has=", ".join(name for name, found in instructions.items() if found) or "none",
        lacks=", ".join(name for name, found in instructions.items() if not found) or "none",
    )
    parts = [f"## Exported models\n{text}"]
    for name, title in TITLES.items():
        if name in content["parts"]:
            rows = content["parts"][name]["rows"]
            parts.append(f"### {title}\n{NOTES[name].format(files=content['files'])}\n{_table(rows)}")
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row["median"] is None:
            lines.append([row["what"], "-", row["note"], "", ""])
            continue
        spread = f"{row['lower_quartile']:.3f} to {row['upper_quartile']:.3f}" if "lower_quartile" in row else ""
        if "change" in row:
            spread = f"change {row['change']:+.4f}"
        lines.append([row["what"], f"{row['median']:.3f}", spread, *_bound(row)])
    return markdown(["", "median", "quartiles", "bound", "within"], lines)


def _bound(row: Row) -> tuple[str, str]:
    if "bound" not in row:
        return "", ""
    return f"{'≥' if row['at_least'] else '≤'} {row['bound']:.2f}", "yes" if _holds(row) else "no"


def _holds(row: Row) -> bool:
    """Whether the median is on the side of its bound that was wanted."""
    return bool(row["median"] >= row["bound"] if row.get("at_least") else row["median"] <= row["bound"])


def base_install(content: dict[str, Any]) -> str:
    """The section of base_install."""
    packages = ", ".join(f"{name} {version}" for name, version in content["packages"].items())
    text = BASE_INSTALL.format(
        count=content["photographs"], seconds=content["predict_seconds"], packages=packages, **content["machine"]
    )
    lines = [
        [row["what"], f"{row['value']:.3g}", f"{row['goal']:g}", "yes" if row["within"] else "no"]
        for row in content["rows"]
    ]
    return f"## Predicting without torch\n{text}\n{markdown(['', 'measured', 'at most', 'within'], lines)}"


def speed_section(content: dict[str, Any]) -> str:
    """The section of speed: each ratio beside the bound that was set for it."""
    machine = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    lines = [
        [
            row["what"],
            f"{row['median']:.3f}",
            f"{row['lower_quartile']:.3f} to {row['upper_quartile']:.3f}",
            f"{row['bound']:.2f}",
            "yes" if _holds(row) else "no",
        ]
        for row in content["rows"]
    ]
    head = ["ratio", "median", "quartiles", "bound", "within"]
    text = SPEED.format(method=content["method"], machine=machine)
    return f"## What attention and the map cost\n{text}\n{markdown(head, lines)}"
