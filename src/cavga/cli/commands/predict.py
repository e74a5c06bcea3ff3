"""`cavga predict`: score images and folders."""

import argparse
from pathlib import Path

from cavga.cli.flags import one_of
from cavga.cli.outcome import BAD_DATA, DONE, IN_PART, Outcome
from cavga.config.schema import DEVICES, MAP_KINDS

NUM_NAMED = 5  # files that were not read and are named; --json names all


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga predict runs/screw new_photos/ --output results --overlays"
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder, or a file that `cavga export` wrote")
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="folders are searched recursively"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for predictions.jsonl and pictures"
    )
    parser.add_argument(
        "--maps", nargs="?", const=MAP_KINDS[0], type=one_of("kind of maps", MAP_KINDS), metavar="|".join(MAP_KINDS),
        help="write the anomaly maps as TIFF: raw values (float32, if no kind is given), or greys on one scale for all "
        "images of the model (uint16)",
    )  # fmt: skip
    parser.add_argument("--overlays", action="store_true", help="write the photographs with the anomaly drawn in")
    parser.add_argument("--coco", action="store_true", help="write the regions as a COCO file (coco.json)")
    parser.add_argument("--threshold", type=float, default=None, help="call images anomalous from this score on")
    parser.add_argument("--device", type=one_of("device", DEVICES), default="auto", metavar="|".join(DEVICES))
    parser.add_argument(
        "--allow-pt2-which-runs-code", action="store_true",
        help="read a .pt2 file, which can run any program that was put into it: only for one that you made yourself",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.inference.detector import AnomalyDetector
    from cavga.prediction.lines import PREDICTIONS_FILE
    from cavga.prediction.predict import PredictionOutputs, check_prediction, predict_to_folder

    check_prediction(args.images, args.output, args.threshold)

    detector = AnomalyDetector.load(args.model, device=args.device, runs_code=args.allow_pt2_which_runs_code)
    summary = predict_to_folder(
        detector,
        args.images,
        args.output,
        threshold=args.threshold,
        outputs=PredictionOutputs(args.maps, args.overlays, args.coco),
    )
    num_failed, num_without_picture = summary.num_failed, summary.num_without_picture
    lines = [
        f"{summary.num_images - num_failed} images scored, {summary.num_anomalous} anomalous, "
        f"{num_failed} could not be read",
        f"scores: {args.output / PREDICTIONS_FILE}",
    ]
    if summary.passed_over:
        named = "; ".join(summary.passed_over[:NUM_NAMED])
        lines.append(f"{len(summary.passed_over)} other files were not read: {named}")
    if num_without_picture:
        lines.insert(1, f"{num_without_picture} images have not all the pictures that were asked for")
    result = {
        "images": summary.num_images,
        "anomalous": summary.num_anomalous,
        "failed": num_failed,
        "without_picture": num_without_picture,
        "passed_over": list(summary.passed_over),
        "predictions": str(args.output / PREDICTIONS_FILE),
    }
    num_problems = num_failed + num_without_picture
    exit_code = DONE if not num_problems else BAD_DATA if num_failed == summary.num_images else IN_PART
    unnamed = num_problems - len(summary.failed)
    more = (f"{unnamed} more, which predictions.jsonl names",) if unnamed else ()
    return Outcome(lines, result, summary.failed + more, exit_code)
