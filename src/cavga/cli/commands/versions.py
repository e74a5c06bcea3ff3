"""`cavga versions`: list what refits made of a run."""

import argparse
from pathlib import Path

from cavga.cli.outcome import Outcome


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga versions runs/screw"
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.marking.versions import versions_of
    from cavga.runs.model_json import load_description

    load_description(args.folder)
    versions = versions_of(args.folder)
    lines = [f"{v.number} {'*' if v.is_in_use else ' '} {v.about['when']}  {v.about['summary']}" for v in versions]
    result = [{"number": v.number, "in_use": v.is_in_use, **v.about} for v in versions]
    return Outcome([*lines, "* in use"] if lines else [f"{args.folder} was never refitted"], {"versions": result})
