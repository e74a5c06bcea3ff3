"""`cavga mark`: say which photographs are bad or good, so that `cavga refit` learns it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cavga.cli.outcome import Outcome
from cavga.errors import UsageError

if TYPE_CHECKING:
    from cavga.marking.marks import Marked


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example: cavga mark runs/screw missed/ --bad --type scratch\n"
        "         cavga mark runs/screw lamp.png --good\n"
        "         cavga mark runs/screw --import results/predictions.jsonl"
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="photographs, or folders of them")
    parser.add_argument("--bad", action="store_true", help="they show a defect: what a refit learns to find")
    parser.add_argument("--good", action="store_true", help="they are good: false alarms, what a refit learns to pass")
    parser.add_argument("--type", default="", metavar="NAME", help="with --bad: the name of the defect")
    parser.add_argument(
        "--import", dest="file", type=Path, default=None, metavar="FILE",
        help="labels from a COCO file, a labels.csv, or predictions.jsonl with labels filled in",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print what is marked")
    parser.add_argument("--withdraw", action="store_true", help="take the marks of these photographs back")
    # argparse gives `images` what stands before the first flag alone: what follows one comes here too.
    parser.set_defaults(run=run, later_words="images")


def run(args: argparse.Namespace) -> Outcome:
    from cavga.marking.marks import mark_photographs, said_in, said_of, withdraw_marks
    from cavga.runs.marks_file import BAD, GOOD

    _check(args)
    images = [Path(image) for image in args.images]
    if args.list:
        return _listed(args.folder)
    if args.withdraw:
        return _outcome(args.folder, withdraw_marks(args.folder, images), "withdrawn")
    said = said_in(args.file) if args.file else said_of(images, BAD if args.bad else GOOD, args.type)
    return _outcome(args.folder, mark_photographs(args.folder, said), "marked")


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError unless one thing is asked for."""
    asked = [name for name in ("bad", "good", "file", "list", "withdraw") if getattr(args, name)]
    if len(asked) != 1:
        raise UsageError("expected one of --bad, --good, --import FILE, --list and --withdraw")
    if args.type and not args.bad:
        raise UsageError("--type names a defect: it goes with --bad")
    if bool(args.images) is (asked[0] in ("file", "list")):
        takes = "takes no photographs" if args.images else "needs photographs, or folders of them"
        raise UsageError(f"--{'import' if asked[0] == 'file' else asked[0]} {takes}")


def _listed(folder: Path) -> Outcome:
    from cavga.runs.marks_file import marks_in_force, read_marks
    from cavga.runs.model_json import load_description

    load_description(folder)
    marks = list(marks_in_force(read_marks(folder)).values())
    lines = [f"{mark.when}  {mark.label:<5}{mark.type:<12}{mark.path}" for mark in marks]
    return Outcome(lines or [f"{folder} has no marks"], {"marks": [vars(mark) for mark in marks]})


def _outcome(folder: Path, done: "Marked", word: str) -> Outcome:
    counts = {label: sum(mark.label == label for mark in done.in_force) for label in ("bad", "good")}
    known = f", {done.num_known} were marked so already" if done.num_known else ""
    return Outcome(
        [
            f"{len(done.new)} photographs {word}{known}; {counts['bad']} bad and {counts['good']} good in all",
            f"`cavga refit {folder}` learns them",
        ],
        {"new": [vars(mark) for mark in done.new], "known": done.num_known, **counts},
    )
