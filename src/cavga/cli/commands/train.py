"""`cavga train`: learn what normal looks like from good images."""

import argparse
from pathlib import Path

from cavga.cli.at_scale import add_category_flags, settle_engine, train_at_scale
from cavga.cli.flags import add_config_flags, config_from_flags
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.cli.parser import Rare
from cavga.cli.waiting import waiting_told
from cavga.progress import in_words


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga train photos/ --output runs/photos --encoder efficientnet_lite0"
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder of good images, MVTec-style folder, manifest, or a known data set (docs/data-sets.md)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="RUN", help="folder to write the run to")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    parser.add_argument(
        "--export", action=argparse.BooleanOptionalAction, default=True,
        help=Rare("end by writing RUN/model.onnx, which predicts without torch (default)"),
    )  # fmt: skip
    add_category_flags(parser)
    add_config_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    settle_engine(args, only_local=None if args.categories else "it trains many categories: add --categories all")
    config = config_from_flags(args)
    if args.categories is not None:
        return train_at_scale(args, config)
    from cavga.calibration.advice import calibration_advice
    from cavga.calibration.thresholds import Calibration
    from cavga.runs.model_json import load_description
    from cavga.training.train import train as train_run

    with waiting_told(enabled=not args.json) as progress:
        run = train_run(args.data, args.output, config, resume=args.resume, with_export=args.export, progress=progress)
    description = load_description(run)
    origin = description["provenance"]
    labelled = f" and {origin['train_anomalous']} labelled bad" if origin["train_anomalous"] else ""
    lines = [
        f"trained on {origin['train']} good{labelled} images (layout {origin['layout']}) in "
        f"{in_words(origin['training_seconds'])}: "
        f"{description['variant']}, preset {description['preset']}; encoder {origin['encoder']}"
    ]
    if origin.get("dropped"):
        lines.append(f"good images left out because they score far above the others: {', '.join(origin['dropped'])}")
    if origin["drawn"]:
        lines.append(f"labelled bad images drawn from the test set: {', '.join(origin['drawn'])}")
    lines.append(f"run folder: {run} (`cavga predict {run} IMAGES --output DIR` uses it)")
    advice = calibration_advice(Calibration.from_dict(description["calibration"]), run)
    lines += [] if advice is None else [advice]
    result = {"run": str(run), **{key: description[key] for key in ("calibration", "training_decisions", "provenance")}}
    return Outcome(lines, result, origin["left_out"], IN_PART if origin["left_out"] else DONE)
