"""Attack the commands with damaged files, odd names, signals and full disks, and count what comes out.

python -m benchmarks.faults                     # all of it; half an hour on two cores
python -m benchmarks.faults --short             # a part of each attack; under a minute
python -m benchmarks.faults --only images       # some kinds, or some of a kind: "kills: predict"
python -m benchmarks.faults --keep              # and writes benchmarks/results/faults.jsonl; with --only those rows
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.attack import KINDS, attacks, try_all
from benchmarks.result_files import read_result, write_result
from cavga.printable import printable


def main() -> int:
    """Try, print, and with --keep write the file; returns 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a part of each attack")
    names = [*KINDS, *(f"{kind}: {name}" for kind, name in attacks())]
    parser.add_argument("--only", nargs="+", choices=names, metavar="ATTACK", default=[], help="; ".join(names))
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/faults.jsonl")
    args = parser.parse_args()
    if args.keep and args.short:
        parser.error("--keep is of the full form: leave --short out")
    begun = time.monotonic()

    def report(row: Mapping[str, Any]) -> None:
        seconds = time.monotonic() - begun
        counts = f"{row['tried']} tried, {row['wrong']} faults"
        print(f"{seconds:5.0f} s  {row['kind']}, {row['attack']}: {counts}", flush=True)
        for fault in row["faults"]:
            print(f"         {printable(fault)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="cavga-faults-") as folder:
        found = try_all(Path(folder), attacks(args.only), is_short=args.short, report=report)
    if args.keep:
        write_result("faults", with_others(found, args.only))
    tried, wrong = (sum(row[name] for row in found["rows"]) for name in ("tried", "wrong"))
    print(f"{tried} tried, {wrong} faults")
    return 1 if wrong else 0


def with_others(found: dict[str, Any], only: Sequence[str]) -> dict[str, Any]:
    """Rows of some kinds beside the kept ones of the others, in the order of all attacks; no attack that is gone."""
    if not only:
        return found
    rows = {(row["kind"], row["attack"]): row for row in [*read_result("faults")["rows"], *found["rows"]]}
    return {**found, "rows": [rows[attack] for attack in attacks() if attack in rows]}


if __name__ == "__main__":
    sys.exit(main())
