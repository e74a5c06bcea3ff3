"""`cavga use`: go back, or forth, to a version of a run."""

import argparse
from pathlib import Path

from cavga.cli.outcome import Outcome


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga use runs/screw 000"
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("number", metavar="NNN", help="number of the version, by `cavga versions`")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.marking.versions import other_exports, use_version

    version = use_version(args.folder, args.number)
    lines = [f"{args.folder} is version {version.number} now: {version.about['summary']}"]
    lines += [f"{name} is of another version: export it again" for name in other_exports(args.folder)]
    return Outcome(lines, {"number": version.number, **version.about})
