"""`cavga export`: write a trained model as one file for runtimes without torch."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cavga.calibration.rules import GIVEN
from cavga.calibration.stored import NEW_THRESHOLDS_KEY, calibration_path
from cavga.cli.flags import one_of
from cavga.cli.outcome import Outcome
from cavga.cli.waiting import waiting_told
from cavga.inference.exported_formats import FOLDERS, FORMATS, LISTED_SUFFIXES, PRECISIONS

if TYPE_CHECKING:
    from cavga.exporting.export import Exported


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga export runs/screw --format onnx --output model.onnx"
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that `cavga train` wrote")
    parser.add_argument(
        "--format",
        type=one_of("format", (*FORMATS, *FOLDERS)),
        default="onnx",
        metavar="|".join((*FORMATS, *FOLDERS)),
        help="default onnx; the last two are folders for other servers, with an ONNX file in them",
    )
    parser.add_argument(
        "--precision", type=one_of("precision", PRECISIONS), default="fp32", metavar="|".join(PRECISIONS),
        help="of the encoder; default fp32. fp16 is for GPUs; int8 needs new thresholds (`cavga calibrate`)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=None, metavar="PATH", help=f"default RUN/model{LISTED_SUFFIXES}, or RUN/FORMAT"
    )
    parser.add_argument(
        "--data", type=Path, default=None, metavar="DATA",
        help="where the training photographs are now, some of which check the export; default: where they were",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.exporting.packages import export_as

    with waiting_told(enabled=not args.json) as progress:
        exported = export_as(
            args.run_folder,
            args.output,
            format=args.format,
            precision=args.precision,
            data=args.data,
            progress=progress,
        )
    check = exported.check
    tiles = "tiles" if "tile" in exported.description["preprocessing"] else "photographs"
    lines = [
        f"{exported.path}: {exported.format} {exported.precision}",
        check.in_words(tiles),
        *threshold_lines(exported),
    ]
    result = {
        "path": str(exported.path),
        "format": exported.format,
        "precision": exported.precision,
        "thresholds": _thresholds(exported.description),
        "check": check.as_dict(),
    }
    return Outcome(lines, result)


def _thresholds(description: Mapping[str, Any]) -> dict[str, Any]:
    """Which thresholds the file carries, and what set them."""
    again = description.get(NEW_THRESHOLDS_KEY)
    values = {name: description["calibration"][name] for name in ("image_threshold", "pixel_threshold")}
    source = None if again is None else {name: again["photographs"][name] for name in ("count", "folder")}
    return {
        **values,
        "set_by": "training" if again is None else "calibrate",
        "date": None if again is None else again["date"],
        "photographs": source,
    }


def threshold_lines(exported: "Exported") -> list[str]:
    """Which thresholds the file carries, and what else is to know of them."""
    carried = _thresholds(exported.description)
    source = "those of the training"
    if carried["set_by"] == "calibrate":
        photographs, date = carried["photographs"], carried["date"][:10]
        what = f"{photographs['count']} photographs of {photographs['folder']}/"
        if not photographs["count"]:
            what = "the good scores that the model keeps"
        source = f"set by `cavga calibrate` on {date} from {what}"
        if exported.description["calibration"]["threshold_rule"] == GIVEN:
            source = f"that of images given to `cavga calibrate` on {date}"
    lines = [f"thresholds: image {carried['image_threshold']:.6g}, mask {carried['pixel_threshold']:.6g}, {source}"]
    if exported.precision == "int8":
        lines.append(f"INT8 shifts scores: `cavga calibrate {exported.path} GOOD_PHOTOS` sets thresholds of its own")
    beside = calibration_path(exported.path)
    if beside.is_file():
        lines.append(f"{beside} is there and goes before them: `cavga calibrate {exported.path} --reset` removes it")
    return lines
