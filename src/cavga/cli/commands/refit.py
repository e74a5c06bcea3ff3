"""`cavga refit`: a model learns what was marked, as a new version that is used from then on."""

import argparse
from pathlib import Path

from cavga.cli.flags import add_device_flag
from cavga.cli.outcome import Outcome
from cavga.cli.waiting import waiting_told


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga refit runs/screw"
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder with marks (`cavga mark`)")
    parser.add_argument("--force", action="store_true", help="also where less would be found; the version says so")
    parser.add_argument(
        "--output", type=Path, default=None, metavar="NEW",
        help="a new run folder for the refitted model; RUN stays as it is (default: a version of RUN)",
    )  # fmt: skip
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.marking.refit import refit

    with waiting_told(enabled=not args.json) as progress:
        done = refit(args.folder, args.output, force=args.force, device=args.device, progress=progress)
    lines = [
        f"version {done.number} of {done.run}, in use from now on:",
        *done.lines,
        *done.new.guarantees(),
        *(f"note: {warning}" for warning in done.warnings),
        f"`cavga versions {done.run}` lists all, `cavga use {done.run} NNN` goes back",
    ]
    return Outcome(lines, done.as_dict())
