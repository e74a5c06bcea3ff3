"""`cavga suggest`: which photographs to mark next."""

import argparse
from pathlib import Path

from cavga.cli.flags import add_device_flag
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.cli.waiting import waiting_told


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga suggest runs/screw today/ -k 10"
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="photographs without labels")
    parser.add_argument("-k", dest="count", type=int, default=10, metavar="N", help="how many to suggest (default 10)")
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.marking.suggest import suggest_marks

    with waiting_told(enabled=not args.json) as progress:
        found = suggest_marks(args.folder, args.images, count=args.count, device=args.device, progress=progress)
    verdicts = {True: "anomalous", False: "normal"}
    lines = [f"{item.score:>10.4g}  {verdicts[item.is_anomalous]:<10}{item.path}" for item in found.suggestions]
    result = {"suggestions": [vars(item) for item in found.suggestions], "seen": found.num_seen, "failed": found.failed}
    return Outcome(
        [f"of {found.num_seen} photographs, near the threshold and unlike one another:", *lines],
        result,
        found.failed,
        IN_PART if found.failed else DONE,
    )
