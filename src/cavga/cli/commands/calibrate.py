"""`cavga calibrate`: set the thresholds of a trained model: by good photographs, kept scores, or as given."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cavga.cli.flags import add_device_flag
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.cli.waiting import waiting_told
from cavga.errors import UsageError
from cavga.runs.model_json import ONNX_FILE

if TYPE_CHECKING:
    from cavga.monitoring.operating_point import OperatingPoint
    from cavga.monitoring.recalibrate import CalibratedModel


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example: cavga calibrate runs/screw new_lamp/\n         cavga calibrate runs/screw --false-alarm-rate 0.1"
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder or exported file; it is left as it is")
    parser.add_argument(
        "photographs", type=Path, nargs="*", metavar="GOOD_PHOTOS",
        help="photographs of good parts under the conditions of now; folders are searched recursively; without any, "
        "the scores that the model keeps of good photographs count",
    )  # fmt: skip
    for name, what in (("", "may be predicted anomalous"), ("mask-", "whose mask may show anything")):
        parser.add_argument(
            f"--{name}false-alarm-rate", type=_rate, default=None, metavar="RATE",
            help=f"share of normal images {'that ' if not name else ''}{what} (default: as it is)",
        )  # fmt: skip
    parser.add_argument(
        "--threshold", type=float, default=None, metavar="X",
        help="call images anomalous from this score on; it guarantees no false alarm rate, and takes no photographs",
    )  # fmt: skip
    parser.add_argument("--reset", action="store_true", help="go back to the model's own thresholds")
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    if args.reset:
        return _reset(args)
    if args.threshold is not None and args.photographs:
        raise UsageError("--threshold takes no photographs: leave them out, or leave --threshold out")
    if args.photographs:
        return _by_photographs(args)
    if (args.threshold, args.false_alarm_rate, args.mask_false_alarm_rate) == (None, None, None):
        raise UsageError(
            "no photographs given: expected files or folders of good parts, --false-alarm-rate, --threshold or --reset"
        )
    return _without_photographs(args)


def _without_photographs(args: argparse.Namespace) -> Outcome:
    from cavga.monitoring.operating_point import set_operating_point

    done = set_operating_point(
        args.model,
        false_alarm_rate=args.false_alarm_rate,
        mask_false_alarm_rate=args.mask_false_alarm_rate,
        threshold=args.threshold,
    )
    return Outcome(_threshold_lines(args, done), _as_json(done))


def _by_photographs(args: argparse.Namespace) -> Outcome:
    from cavga.monitoring.recalibrate import calibrate_model

    with waiting_told(enabled=not args.json) as progress:
        done = calibrate_model(
            args.model,
            args.photographs,
            false_alarm_rate=args.false_alarm_rate,
            mask_false_alarm_rate=args.mask_false_alarm_rate,
            device=args.device,
            progress=progress,
        )
    count, before = done.new.num_images, done.num_predicted_anomalous_before
    lines = [f"{count} photographs of good parts{_left_out(done.num_trained_on, done.num_copies)}"]
    if done.num_trained_on is None:
        lines.append("not known here: what the model was trained on; such photographs set the thresholds too low")
    lines += _threshold_lines(
        args,
        done,
        f"at the old thresholds {before} of these {count} good photographs are predicted anomalous "
        f"({before / count:.0%})",
    )
    result = {
        **_as_json(done),
        "called_anomalous_before": before,
        "trained_on": done.num_trained_on,
        "copies": done.num_copies,
        "failed": list(done.failed),
    }
    return Outcome(lines, result, done.failed, IN_PART if done.failed else DONE)


def _threshold_lines(args: argparse.Namespace, done: "OperatingPoint | CalibratedModel", *more: str) -> list[str]:
    """Old and new thresholds, and what the new ones can be trusted to do."""
    old, new = done.old, done.new
    return [
        f"{'threshold':<12}{'old':>12}{'new':>12}",
        f"{'image':<12}{old.image_threshold:>12.6g}{new.image_threshold:>12.6g}",
        f"{'mask':<12}{old.pixel_threshold:>12.6g}{new.pixel_threshold:>12.6g}",
        *more,
        *new.guarantees(),
        f"new thresholds: {done.path} (`cavga calibrate {args.model} --reset` goes back)",
        *_exported_of(args.model),
    ]


def _as_json(done: "OperatingPoint | CalibratedModel") -> dict[str, Any]:
    return {
        "old": done.old.as_dict(),
        "new": done.new.as_dict(),
        "promise": done.new.guarantee(),
        "mask_promise": done.new.mask_guarantee(),
        "calibration": str(done.path),
    }


def _left_out(num_trained_on: int | None, num_copies: int) -> str:
    parts = [f"{num_trained_on} that the model was trained on"] if num_trained_on else []
    parts += [f"{num_copies} copies"] if num_copies else []
    return f"; left out: {', '.join(parts)}" if parts else ""


def _reset(args: argparse.Namespace) -> Outcome:
    if args.photographs or (args.threshold, args.false_alarm_rate, args.mask_false_alarm_rate) != (None, None, None):
        raise UsageError("--reset takes no photographs, rates or threshold: leave them out, or leave --reset out")
    from cavga.monitoring.recalibrate import reset

    path = reset(args.model)
    text = f"{args.model} has the thresholds that {'training set' if args.model.is_dir() else 'it was exported with'}"
    text += " already: there is no calibration to remove" if path is None else f" again: {path} was removed"
    return Outcome([text, *_exported_of(args.model)], {"removed": None if path is None else str(path)})


def _exported_of(model: Path) -> list[str]:
    """What to know of a run's exported file: it carries its thresholds with it."""
    exported = model / ONNX_FILE
    if not exported.is_file():
        return []
    return [f"{exported}, used by itself, has those it was exported with: `cavga export {model}` writes it again"]


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return rate
