"""`cavga drift`: say whether production images still score like the good ones that set the thresholds."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cavga.cli.outcome import Outcome

if TYPE_CHECKING:
    from cavga.monitoring.drift import Part


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga drift results/ --against runs/screw"
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="predictions.jsonl of `cavga predict`, or its folder"
    )
    parser.add_argument("--against", type=Path, required=True, metavar="MODEL", help="the model that predicted")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.monitoring.drift import as_dict, calibration_of, caveat, detect_drift, predictions_of

    predictions = predictions_of(args.predictions)
    calibration = calibration_of(args.against)
    drift = detect_drift(predictions.scores, calibration)
    unread = f", {predictions.num_unreadable} more could not be read" if predictions.num_unreadable else ""
    promised = calibration.guaranteed_false_alarm_rate
    lines = [
        f"{drift.whole.num_images} images{unread}, against {calibration.num_images} good ones that set the threshold",
        f"predicted anomalous: {_share(drift.whole)}, 95 % interval {_interval(drift.whole)}; "
        + ("no rate was promised" if promised is None else f"promised: {promised:.1%} of good ones"),
        f"below the threshold: {_distance(drift.whole)}",
    ]
    if drift.parts:
        lines.append(
            f"{'part':<6}{'images':>8}{'called':>9}{'p median':>10}   0.5 if nothing changed, lower: higher scores"
        )
        lines += [
            f"{number:<6}{part.num_images:>8}{_share(part):>9}{part.median_p_value:>10.2f}"
            for number, part in enumerate(drift.parts, start=1)
        ]
    reason = caveat(predictions, calibration)
    verdict = drift.verdict if reason is None else f"{drift.verdict}; but {reason}"
    return Outcome([*lines, verdict], dict(as_dict(drift, predictions, calibration)))


def _share(part: "Part") -> str:
    return f"{part.num_predicted_anomalous / part.num_images:.1%}"


def _interval(part: "Part") -> str:
    return " to ".join(f"{end:.1%}" for end in part.interval)


def _distance(part: "Part") -> str:
    if part.comparison is None:
        return "too few scores to compare"
    return (
        f"Kolmogorov-Smirnov distance {part.comparison.statistic:.3f} between the two distributions of scores, "
        f"p = {part.comparison.p_value:.2g}"
    )
