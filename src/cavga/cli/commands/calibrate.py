"""`cavga calibrate`: set the thresholds of a trained model by good photographs as they look now."""

import argparse
from pathlib import Path

from cavga.cli.flags import one_of
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.config.schema import DEVICES
from cavga.errors import UsageError
from cavga.runs.model_json import ONNX_FILE


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga calibrate runs/screw new_lamp/"
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder or exported file; it is left as it is")
    parser.add_argument(
        "photographs", type=Path, nargs="*", metavar="GOOD_PHOTOS",
        help="photographs of good parts under the conditions of now; folders are searched recursively",
    )  # fmt: skip
    for name, what in (("", "may be predicted anomalous"), ("mask-", "whose mask may show anything")):
        parser.add_argument(
            f"--{name}false-alarm-rate", type=_rate, default=None, metavar="RATE",
            help=f"share of normal images {'that ' if not name else ''}{what} (default: as it is)",
        )  # fmt: skip
    parser.add_argument("--reset", action="store_true", help="go back to the model's own thresholds")
    parser.add_argument("--device", type=one_of("device", DEVICES), default="auto", metavar="|".join(DEVICES))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    if args.reset:
        return _reset(args)
    if not args.photographs:
        raise UsageError("no photographs given: expected files or folders of good parts, or --reset")
    from cavga.monitoring.recalibrate import calibrate_model

    done = calibrate_model(
        args.model,
        args.photographs,
        false_alarm_rate=args.false_alarm_rate,
        mask_false_alarm_rate=args.mask_false_alarm_rate,
        device=args.device,
    )
    old, new, count = done.old, done.new, done.new.num_images
    lines = [f"{count} photographs of good parts{_left_out(done.num_trained_on, done.num_copies)}"]
    if done.num_trained_on is None:
        lines.append("not known here: what the model was trained on; such photographs set the thresholds too low")
    lines += [
        f"{'threshold':<12}{'old':>12}{'new':>12}",
        f"{'image':<12}{old.image_threshold:>12.6g}{new.image_threshold:>12.6g}",
        f"{'mask':<12}{old.pixel_threshold:>12.6g}{new.pixel_threshold:>12.6g}",
        f"at the old thresholds {done.num_predicted_anomalous_before} of these {count} good photographs are predicted "
        f"anomalous ({done.num_predicted_anomalous_before / count:.0%})",
        *new.guarantees(),
        f"new thresholds: {done.path} (`cavga calibrate {args.model} --reset` goes back)",
        *_exported_of(args.model),
    ]
    result = {
        "old": old.as_dict(),
        "new": new.as_dict(),
        "promise": new.guarantee(),
        "mask_promise": new.mask_guarantee(),
        "called_anomalous_before": done.num_predicted_anomalous_before,
        "trained_on": done.num_trained_on,
        "copies": done.num_copies,
        "failed": list(done.failed),
        "calibration": str(done.path),
    }
    return Outcome(lines, result, done.failed, IN_PART if done.failed else DONE)


def _left_out(num_trained_on: int | None, num_copies: int) -> str:
    parts = [f"{num_trained_on} that the model was trained on"] if num_trained_on else []
    parts += [f"{num_copies} copies"] if num_copies else []
    return f"; left out: {', '.join(parts)}" if parts else ""


def _reset(args: argparse.Namespace) -> Outcome:
    if args.photographs:
        raise UsageError("--reset takes no photographs: leave them out, or leave --reset out")
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
