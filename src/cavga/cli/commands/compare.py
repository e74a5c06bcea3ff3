"""`cavga compare`: say whether one of two methods is better on the same test images."""

import argparse
from pathlib import Path

from cavga.cli.outcome import Outcome
from cavga.cli.printing import comparison_lines


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga compare runs/old runs/new --output results"
    parser.add_argument("a", type=Path, metavar="A", help="folder that `cavga evaluate` wrote its results to")
    parser.add_argument("b", type=Path, metavar="B", help="another one, of the same test images")
    parser.add_argument("--output", type=Path, default=None, metavar="DIR", help="folder for compare.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.evaluation.compare import compare_evaluations

    result = compare_evaluations(args.a, args.b, args.output)
    lines = comparison_lines(result)
    if args.output is not None:
        lines.append(f"result: {args.output / 'compare.json'}")
    return Outcome(lines, result)
