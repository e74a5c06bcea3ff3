"""`cavga benchmark`: run every cell of a table and write its rows."""

import argparse
import sys
from pathlib import Path
from typing import Any

from cavga.printing import table_line
from cavga.verbs.outcome import DONE, IN_PART, Outcome


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga benchmark demo --output runs/benchmark"
    parser.add_argument("table", metavar="TABLE", help="demo, screw, variants, table7, table8 or weak")
    parser.add_argument(
        "--data", type=Path, default=None, metavar="ROOT", help="folder that holds mvtec_ad/screw and magnetic_tile"
    )
    parser.add_argument(
        "--datasets", type=_names, default=(), metavar="A,B", help="only these data sets of the table, by their folder"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the runs and TABLE.json")
    parser.add_argument("--seeds", type=_seeds, default=(0,), metavar="0,1,2", help="default 0")
    parser.add_argument(
        "--weights", default=None, metavar="imagenet|FILE", help="weights of encoder r, the demo's textures apart"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.benchmark import run_table

    def show(row: dict[str, Any]) -> None:
        if not args.json:
            name = f"{row['cell']}, {row['data']}, seed {row['seed']}"
            print(f"{name}: {row['error'] or table_line('', row['metrics'])}", file=sys.stderr)

    rows = run_table(
        args.table,
        args.output,
        data=args.data,
        seeds=args.seeds,
        weights=args.weights,
        datasets=args.datasets,
        on_row=show,
    )
    failed = [f"{row['cell']}: {row['error']}" for row in rows if row["error"]]
    text = f"{len(rows) - len(failed)} of {len(rows)} cells finished: {args.output / args.table}.json"
    return Outcome(text, {"rows": rows}, failed, IN_PART if failed else DONE)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _seeds(text: str) -> tuple[int, ...]:
    if all(part.isdecimal() for part in text.split(",")):
        return tuple(int(part) for part in text.split(","))
    raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, got {text!r}")
