"""`cavga predict`: score images and folders."""

import argparse
from typing import TYPE_CHECKING, Any

from cavga.cli.at_scale import (
    add_scoring_flags,
    bad_share_code,
    is_at_scale,
    place_of,
    predict_at_scale,
    settle_engine,
)
from cavga.cli.flags import add_device_flag, one_of
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.cli.parser import Rare
from cavga.cli.waiting import waiting_told
from cavga.config.schema import MAP_KINDS
from cavga.errors import UsageError

if TYPE_CHECKING:
    from cavga.prediction.predict import PredictionSummary

NUM_NAMED = 5  # files that were not read and are named; --json names all


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga predict runs/screw new_photos/ --output results --overlays"
    parser.add_argument("model", type=place_of, metavar="MODEL", help="run folder, or a file that `cavga export` wrote")
    parser.add_argument(
        "images", type=place_of, nargs="*", metavar="IMAGE_OR_FOLDER",
        help="folders are searched recursively; or a manifest",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=place_of, required=True, metavar="DIR", help="folder for scores, a gallery and pictures"
    )
    parser.add_argument(
        "--maps", nargs="?", const=MAP_KINDS[0], type=one_of("kind of maps", MAP_KINDS), metavar="|".join(MAP_KINDS),
        help="write the anomaly maps as TIFF: raw values (float32, if no kind is given), or greys on one scale for all "
        "images of the model (uint16)",
    )  # fmt: skip
    parser.add_argument("--overlays", action="store_true", help="write the photographs with the anomaly drawn in")
    parser.add_argument("--coco", action="store_true", help="write the regions as a COCO file (coco.json)")
    parser.add_argument("--threshold", type=float, default=None, help="call images anomalous from this score on")
    add_device_flag(parser)
    parser.add_argument(
        "--allow-pt2-which-runs-code", action="store_true",
        help=Rare("read a .pt2 file, which can run any program that was put into it: only for one you made yourself"),
    )  # fmt: skip
    add_scoring_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    if not args.images and args.models is None:
        raise UsageError("the following arguments are required: IMAGE_OR_FOLDER (see `cavga predict --help`)")
    settle_engine(args)
    if is_at_scale(args):
        return predict_at_scale(args)
    from cavga.inference.detector import AnomalyDetector
    from cavga.inference.lines import PREDICTIONS_FILE
    from cavga.prediction.gallery_page import GALLERY_FILE
    from cavga.prediction.predict import PredictionOutputs, check_prediction, predict_to_folder
    from cavga.prediction.spreadsheet import TABLE_FILE

    check_prediction(args.images, args.output, args.threshold)

    detector = AnomalyDetector.load(args.model, device=args.device, runs_code=args.allow_pt2_which_runs_code)
    with waiting_told(enabled=not args.json) as progress:
        summary = predict_to_folder(
            detector,
            args.images,
            args.output,
            threshold=args.threshold,
            outputs=PredictionOutputs(args.maps, args.overlays, args.coco),
            progress=progress,
        )
    num_problems = summary.num_failed + summary.num_without_picture
    exit_code = bad_share_code(summary.num_failed, summary.num_images, args.max_bad_share)
    exit_code = IN_PART if exit_code == DONE and summary.num_without_picture else exit_code
    unnamed = num_problems - len(summary.failed)
    more = (f"{unnamed} more, which predictions.jsonl names",) if unnamed else ()
    files = {"predictions": PREDICTIONS_FILE, "table": TABLE_FILE, "gallery": GALLERY_FILE}
    places = {name: str(args.output / file) for name, file in files.items()}
    return Outcome(_lines(summary, places), _as_json(summary, places), summary.failed + more, exit_code)


def _lines(summary: "PredictionSummary", places: dict[str, str]) -> list[str]:
    """What is printed."""
    lines = [
        f"{summary.num_images - summary.num_failed} images scored, {summary.num_anomalous} anomalous, "
        f"{summary.num_failed} could not be read"
    ]
    if summary.num_without_picture:
        lines.append(f"{summary.num_without_picture} images have not all the pictures that were asked for")
    lines += [*_verdict_lines(summary), f"scores: {places['predictions']}, as a table {places['table']}"]
    lines.append(f"highest scores with pictures: {places['gallery']}")
    if summary.passed_over:
        named = "; ".join(summary.passed_over[:NUM_NAMED])
        lines.append(f"{len(summary.passed_over)} other files were not read: {named}")
    return lines


def _as_json(summary: "PredictionSummary", places: dict[str, str]) -> dict[str, Any]:
    return {
        "images": summary.num_images,
        "anomalous": summary.num_anomalous,
        "failed": summary.num_failed,
        "without_picture": summary.num_without_picture,
        "highest": [vars(one) for one in summary.highest],
        "normal_with_regions": summary.num_below,
        "anomalous_without_regions": summary.num_without_place,
        "passed_over": list(summary.passed_over),
        **places,
    }


def _verdict_lines(summary: "PredictionSummary") -> list[str]:
    """The highest scores in words, and what regions mean beside the verdict."""
    lines = []
    for one in summary.highest:
        rarity = "" if one.p_value_in_words is None else f", {one.p_value_in_words}"
        lines.append(f"  {one.path}: {'anomalous' if one.is_anomalous else 'normal'}, score {one.score:.4g}{rarity}")
    if lines:
        lines.insert(0, "highest scores:")
    if summary.num_below:
        lines.append(f"{summary.num_below} normal photographs have regions, which are below the image threshold")
    if summary.num_without_place:
        lines.append(f"{summary.num_without_place} anomalous photographs have none: no single place stands out")
    return lines
