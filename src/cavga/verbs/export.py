"""`cavga export`: write a trained model as one file for runtimes without torch."""

import argparse
from pathlib import Path

from cavga.flags import one_of
from cavga.model_file import EXPORT_PRECISIONS
from cavga.verbs.outcome import Outcome

FORMATS = tuple(EXPORT_PRECISIONS)
PRECISIONS = EXPORT_PRECISIONS["onnx"]  # the format that has them all


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga export runs/screw --format onnx --output model.onnx"
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that `cavga train` wrote")
    parser.add_argument(
        "--format", type=one_of("format", FORMATS), default="onnx", metavar="|".join(FORMATS), help="default onnx"
    )
    parser.add_argument(
        "--precision", type=one_of("precision", PRECISIONS), default="fp32", metavar="|".join(PRECISIONS),
        help="of the encoder; default fp32. fp16 is for GPUs; int8 needs new thresholds (`cavga calibrate`)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=None, metavar="FILE", help="default RUN/model.onnx, .xml or .pt2"
    )
    parser.add_argument(
        "--data", type=Path, default=None, metavar="DATA",
        help="where the training photographs are now, some of which check the export; default: where they were",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.export_run import export_run

    exported = export_run(args.run_folder, args.output, format=args.format, precision=args.precision, data=args.data)
    check = exported.check
    text = (
        f"{exported.path}: {exported.format} {exported.precision}, checked on {check.num_photographs} photographs "
        f"against PyTorch\nscores differ by at most {check.score_difference:.1e}, maps by {check.map_difference:.1e} "
        f"of their thresholds; {check.decisions_changed} decisions and {check.mask_pixels_changed} mask pixels changed"
    )
    return Outcome(text, {"path": str(exported.path), "format": exported.format, "precision": exported.precision,
                          "check": check.as_dict()})  # fmt: skip
