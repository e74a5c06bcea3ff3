"""The page about scale: nodes, categories, memory, and one model for many kinds of part."""

from typing import Any

from docs.generate.tables import Page, markdown, rows_of

Row = dict[str, Any]
NODES = """
`python -m benchmarks.scale nodes`: two local Ray nodes of one processor each beside one, taking turns. Photographs of
32 px, EfficientNet-Lite0, parts of 250 images; categories of 10 photographs. Two cores were shared with other work,
whose load (processes that wait for a core) stands beside the figures. On such a machine a second worker also takes a
second worker's share from the others, and has to wait as often: **these ratios say that work is spread, not what two
free machines give.** The goal, 1.6, is missed here. 20,000 images were meant; this is what the machine bore.
"""
KILLED = """
A node is removed without warning once something is done. Asked, there, and more than once are images or categories of
the output.
"""
CATEGORIES = """
`python -m benchmarks.scale categories`: one process, 128 px, four photographs a category, with as many photographs of
a single category beside it. One category was trained on 30 photographs; the others are copies of its packed file.
CPU seconds are of the whole process, starting included.
"""
MEMORY = """
`python -m benchmarks.scale memory`: one shard scored in one process, photographs of 32 px, an exported model.
"""
JOINT = """
`python -m benchmarks.scale joint`: r-u, frozen EfficientNet-Lite0, 128 px, seed 0. Image AUROC by raw scores on each
paper's own test photographs. Apart: one model a paper, packed, routed by `--models`. Joint: one model of all training
photographs, which is not told the paper.
"""


def scale() -> Page:
    """The page of benchmarks.scale."""
    rows = rows_of("scale")
    of = {kind: [row for row in rows if row["kind"] == kind] for kind in ("nodes", "categories", "memory", "joint")}
    parts = [
        *((f"## Two nodes beside one\n{NODES}", _nodes(of["nodes"])) if of["nodes"] else ()),
        *((f"## A node that is killed\n{KILLED}", _killed(of["nodes"])) if of["nodes"] else ()),
        *(
            (f"## Many categories in one process\n{CATEGORIES}", _categories(of["categories"]))
            if of["categories"]
            else ()
        ),
        *((f"## Memory\n{MEMORY}", _memory(of["memory"])) if of["memory"] else ()),
        *((f"## One model for all\n{JOINT}", _joint(of["joint"])) if of["joint"] else ()),
    ]
    return Page("Scale", "What do many categories and many images cost?", _found(of), tuple(parts))


def _found(of: dict[str, list[Row]]) -> str:
    killed = [row for row in of["nodes"] if "asked" in row]
    whole = all(row["there"] == row["asked"] and not row["twice"] for row in killed)
    found = [f"With a node killed in the middle, everything was there exactly once: {'yes' if whole else 'no'}."]
    for row in of["categories"][:1]:
        found.append(f"{row['categories']} categories in one process take {row['peak_mib']:,} MiB.")
    if of["joint"]:
        mean = of["joint"][-1]
        found.append(f"One model for twelve papers reaches an image AUROC of {mean['joint']:.3f}, one each "
                     f"{mean['apart']:.3f}.")  # fmt: skip
    return " ".join(found)


def _nodes(rows: list[Row]) -> str:
    lines = [
        (row["what"], f"{row['count']:,}", _list(row["one_node_seconds"]), _list(row["two_nodes_seconds"]),
         f"{row['ratio']:.2f}", f"{row['load_of_others']:.0f}")
        for row in rows if "ratio" in row
    ]  # fmt: skip
    return markdown(("what", "images or categories", "one node, s", "two nodes, s", "ratio", "load"), lines)


def _killed(rows: list[Row]) -> str:
    lines = [
        (row["what"], f"{row['asked']:,}", f"{row['there']:,}", str(row["twice"]), f"{row['seconds']:.0f}")
        for row in rows if "asked" in row
    ]  # fmt: skip
    return markdown(("what", "asked", "there", "more than once", "s"), lines)


def _categories(rows: list[Row]) -> str:
    lines = [
        (f"{row['categories']:,}", f"{row['images']:,}", f"{row['images'] / row['seconds']:.1f}",
         f"{row['cpu_seconds']:.0f}", f"{row['peak_mib']:,}",
         str(row["models_held"]), f"{row['model_bytes'] / 1e6:.2f}")
        for row in rows
    ]  # fmt: skip
    head = ("categories", "images", "images a second", "CPU s", "peak MiB", "models held", "MB a model")
    return markdown(head, lines)


def _memory(rows: list[Row]) -> str:
    return markdown(("images", "peak MiB"), [(f"{row['images']:,}", f"{row['peak_mib']:,}") for row in rows])


def _joint(rows: list[Row]) -> str:
    lines = [
        (row["paper"], str(row.get("train", "")), str(row.get("test", "")), f"{row['apart']:.3f}",
         f"{row['joint']:.3f}")
        for row in rows
    ]  # fmt: skip
    return markdown(("paper", "to train", "to test", "one each", "joint"), lines)


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in seconds)
