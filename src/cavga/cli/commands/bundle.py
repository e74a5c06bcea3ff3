"""`cavga bundle`: a model and everything that predicting needs, for a machine without network."""

import argparse
from pathlib import Path

from cavga.cli.outcome import DONE, Outcome
from cavga.cli.waiting import waiting_told


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga bundle runs/screw --output screw-bundle --platform linux_x86_64"
    parser.add_argument("model", type=Path, metavar="MODEL", help="exported .onnx, or run folder that holds one")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder for the bundle")
    parser.add_argument("--platform", required=True, metavar="linux_x86_64|win_amd64", help="what the other machine is")
    parser.add_argument("--python", default=None, metavar="3.N", help="its Python (default: the version of this one)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.exporting.bundle import make_bundle, this_python

    python = args.python or this_python()
    with waiting_told(enabled=not args.json) as progress:
        summary = make_bundle(args.model, args.output, platform=args.platform, python=python, progress=progress)
    thresholds = "those of `cavga calibrate`" if summary.is_calibrated else "those that model.onnx was exported with"
    lines = [
        f"{args.output}: model.onnx and {summary.num_wheels} wheels for {args.platform} and Python {python}, "
        f"{summary.num_bytes / 1e6:.0f} MB",
        f"thresholds: {thresholds}",
        "next: copy the folder to the machine and run install there (README.txt)",
    ]
    result = {
        "output": str(args.output),
        "platform": args.platform,
        "python": python,
        "wheels": summary.num_wheels,
        "bytes": summary.num_bytes,
        "calibrated": summary.is_calibrated,
    }
    return Outcome(lines, result, (), DONE)
