"""Scale, measured: python -m benchmarks.scale nodes|categories|memory|joint FOLDER [--keep].

FOLDER is for made photographs and outputs. `--small` cuts everything to what a test takes. `--keep` puts the rows into
benchmarks/results/scale.jsonl, in the place of earlier ones of the same kind.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.result_files import FOLDER, read_result, write_result

RESULT = "scale"
KINDS = ("nodes", "categories", "memory", "joint")


def main() -> None:
    """Measure, print a line a row, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=None, help="joint: the papers of PIPED, MVTec-style")
    parser.add_argument("--count", type=int, default=None, help="nodes: images; categories: categories; memory: images")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--keep", action="store_true", help=f"write benchmarks/results/{RESULT}.jsonl")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [{"kind": args.kind, **row} for row in _rows(args)]
    for row in rows:
        row["load_of_others"] = round(load, 1)
        print(json.dumps(row), flush=True)
    if args.keep:
        known = read_result(RESULT)["rows"] if (FOLDER / f"{RESULT}.jsonl").is_file() else []
        kept = [row for row in known if row["kind"] != args.kind]
        write_result(RESULT, {"table": RESULT, "cores": os.cpu_count(), "rows": kept + rows})


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    if args.kind == "nodes":
        from benchmarks.scale.nodes import clean, measure_nodes

        clean(args.folder)
        count, rounds, size = (60, 1, 10) if args.small else (args.count or 20_000, args.rounds, 250)
        return measure_nodes(
            args.folder, images=count, categories=2 if args.small else 8, rounds=rounds, part_size=size
        )
    if args.kind == "joint":
        from benchmarks.scale.joint import measure_joint

        return measure_joint(args.data, args.folder)
    from benchmarks.scale.many import measure_categories, measure_memory

    if args.kind == "categories":
        return measure_categories(args.folder, count=6 if args.small else args.count or 500)
    return measure_memory(args.folder, counts=(100, 300) if args.small else (2000, args.count or 20_000))


if __name__ == "__main__":
    main()
