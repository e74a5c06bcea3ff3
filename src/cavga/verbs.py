"""What each verb of the command line does: `add_x` declares the flags of x, `x` makes one library call of them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cavga.config import DEVICES, LAYOUTS, DataConfig
from cavga.errors import UsageError
from cavga.flags import add_config_flags, config_from_flags, one_of, parse_image_size
from cavga.printing import self_test_lines, table_line

DONE, FAILED, BAD_DATA, IN_PART, INTERRUPTED = 0, 1, 3, 4, 130

_NOT_FOR_THE_DEMO = (
    *("category", "normal_class", "mask_cut", "layout", "calibration_fraction", "image_size", "weights"),
)


class Outcome(NamedTuple):
    """What a verb did: text for people, an object for --json, lines of trouble, and the exit code."""

    text: str
    result: dict[str, Any]
    problems: Sequence[str] = ()
    exit_code: int = DONE


def add_demo(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga demo --output runs/demo"
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="default runs/demo")
    add_config_flags(parser, leave_out=_NOT_FOR_THE_DEMO)
    parser.set_defaults(run=demo)


def demo(args: argparse.Namespace) -> Outcome:
    from cavga.demo import demo_settings, run_demo
    from cavga.progress import training_progress

    config = config_from_flags(args, demo_settings)
    with training_progress(enabled=not args.json) as bar:
        summary = run_demo(args.output, config, announce=bar.announce, on_step=bar.step)
    lines = [table_line("texture", None)]
    lines += [table_line(texture, metrics) for texture, metrics in summary.items()]
    lines.append(f"report: {args.output / 'report.html'}")
    return Outcome("\n".join(lines), summary)


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga check photos/"
    parser.add_argument("data", type=Path, metavar="DATA", help="folder or manifest")
    parser.add_argument("--layout", type=one_of("layout", LAYOUTS), default=None, metavar="|".join(LAYOUTS))
    parser.add_argument("--category", default=None, help="which category, where there are several")
    parser.add_argument(
        "--normal-class", default=None, metavar="NAME", help="which class is normal, by name or number, of several"
    )
    parser.add_argument(
        "--image-size", type=parse_image_size, default=DataConfig.image_size, metavar="N|HxW",
        help="size to train at, for the smallest defect that a map can show (default 256)",
    )  # fmt: skip
    parser.set_defaults(run=check)


def check(args: argparse.Namespace) -> Outcome:
    from dataclasses import asdict

    from cavga.data.catalog import load_catalog
    from cavga.data.check import check_catalog, count_images, smallest_defect
    from cavga.data.records import CLASS_LAYOUTS

    catalog = load_catalog(args.data, layout=args.layout, category=args.category, normal_class=args.normal_class)
    counts, findings = count_images(catalog), check_catalog(catalog)
    what = "normal class" if catalog.layout in CLASS_LAYOUTS else "category"
    lines = [f"{args.data}: layout {catalog.layout}" + (f", {what} {catalog.category}" if catalog.category else "")]
    lines += [f"  {name}: {count}" for name, count in counts.items()]
    smallest = smallest_defect(catalog, args.image_size)
    if smallest is not None:
        lines.append(
            f"  a cell of the map covers {smallest:.0f} px of these photographs at {args.image_size[0]} x "
            f"{args.image_size[1]}: a defect much smaller will not show"
        )
    lines += [f"{item.severity}: {item.path}: {item.problem}; {item.remedy}" for item in findings]
    num_errors = sum(item.severity == "error" for item in findings)
    lines.append(f"{num_errors} errors, {sum(item.severity == 'warning' for item in findings)} warnings")
    result = {"layout": catalog.layout, "counts": counts, "findings": [asdict(item) for item in findings],
              "smallest_defect": smallest}  # fmt: skip
    return Outcome("\n".join(lines), result, exit_code=BAD_DATA if num_errors else DONE)


def add_train(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga train photos/ --output runs/photos --weights none"
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder of good images, MVTec-style folder, manifest, or a known data set (docs/data-sets.md)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="RUN", help="folder to write the run to")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    add_config_flags(parser)
    parser.set_defaults(run=train)


def train(args: argparse.Namespace) -> Outcome:
    config = config_from_flags(args)
    from cavga.model_file import load_description
    from cavga.pipeline import train as train_run
    from cavga.progress import training_progress

    with training_progress(enabled=not args.json) as bar:
        run = train_run(args.data, args.output, config, resume=args.resume, on_step=bar.step)
    description = load_description(run)
    origin = description["provenance"]
    labelled = f" and {origin['train_anomalous']} labelled bad" if origin["train_anomalous"] else ""
    drawn = f"labelled bad images drawn from the test set: {', '.join(origin['drawn'])}\n" if origin["drawn"] else ""
    text = (
        f"trained {description['variant']} ({description['preset']}; {origin['encoder']}) on {origin['train']} good"
        f"{labelled} images of layout {origin['layout']} in {origin['training_seconds']} s\n{drawn}"
        f"run folder: {run} (`cavga predict {run} IMAGES --output DIR` uses it)"
    )
    result = {"run": str(run), **{key: description[key] for key in ("calibration", "training_decisions", "provenance")}}
    return Outcome(text, result, origin["left_out"], IN_PART if origin["left_out"] else DONE)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga evaluate runs/screw data/screw"
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that `cavga train` wrote")
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder, manifest or known data set with labelled test images"
    )
    parser.add_argument("--output", type=Path, default=None, metavar="DIR", help="default: RUN")
    parser.add_argument(
        "--category",
        "--normal-class",
        default=None,
        metavar="NAME",
        help="which category, or which class is normal, where there are several; a class defaults to the run's",
    )
    parser.add_argument(
        "--mask-cut",
        type=float,
        default=None,
        metavar="X",
        help="LAG: share of an attention map's maximum from which on it is mask; default: the run's",
    )
    parser.add_argument(
        "--without", type=Path, action="append", default=[], metavar="RUN",
        help="leave out what this run was trained on as well, to compare runs on the same images; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation-size", type=one_of("evaluation size", ("input", "original")), default="input",
        metavar="input|original", help="size of the pixel metrics: the model's input or the photographs' own",
    )  # fmt: skip
    parser.add_argument(
        "--self-test", action="store_true",
        help="good images are enough: make anomalies on them and say which are found (self_test.json, self_test.html)",
    )  # fmt: skip
    parser.add_argument("--device", type=one_of("device", DEVICES), default="auto", metavar="|".join(DEVICES))
    parser.set_defaults(run=evaluate)


def evaluate(args: argparse.Namespace) -> Outcome:
    if args.self_test:
        return _self_test(args)
    from cavga.evaluating import evaluate as evaluate_run

    result = evaluate_run(
        args.run_folder,
        args.data,
        args.output,
        category=args.category,
        without=args.without,
        mask_cut=args.mask_cut,
        at_original_size=args.evaluation_size == "original",
        device=args.device,
    )
    name = args.run_folder.name or str(args.run_folder)
    lines = [table_line("run", None), table_line(name, result.metrics)]
    lines.append(f"report: {(args.output or args.run_folder) / 'report.html'}")
    return Outcome("\n".join(lines), result.metrics, result.problems, IN_PART if result.problems else DONE)


def _self_test(args: argparse.Namespace) -> Outcome:
    if args.without or args.evaluation_size != "input":
        raise UsageError("--self-test takes neither --without nor --evaluation-size: leave them out")
    from cavga.self_testing import self_test

    test = self_test(args.run_folder, args.data, args.output, category=args.category, device=args.device)
    lines = [*self_test_lines(test.result), f"page: {(args.output or args.run_folder) / 'self_test.html'}"]
    return Outcome("\n".join(lines), test.result, test.problems, IN_PART if test.problems else DONE)


def add_predict(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga predict runs/screw new_photos/ --output results --overlays"
    parser.add_argument("model", type=Path, metavar="MODEL", help="run folder")
    parser.add_argument(
        "images", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="folders are searched recursively"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for predictions.jsonl and pictures"
    )
    parser.add_argument("--maps", action="store_true", help="write the raw anomaly maps (32-bit float TIFF)")
    parser.add_argument("--overlays", action="store_true", help="write the photographs with the anomaly drawn in")
    parser.add_argument("--threshold", type=float, default=None, help="call images anomalous from this score on")
    parser.add_argument("--device", type=one_of("device", DEVICES), default="auto", metavar="|".join(DEVICES))
    parser.set_defaults(run=predict)


def predict(args: argparse.Namespace) -> Outcome:
    from cavga.detector import AnomalyDetector
    from cavga.prediction import check_prediction, predict_to_folder

    check_prediction(args.images, args.output, args.threshold)

    detector = AnomalyDetector.load(args.model, device=args.device)
    summary = predict_to_folder(
        detector,
        args.images,
        args.output,
        threshold=args.threshold,
        with_maps=args.maps,
        with_overlays=args.overlays,
    )
    num_failed = len(summary.failed)
    text = (
        f"{summary.num_images - num_failed} images scored, {summary.num_anomalous} anomalous, "
        f"{num_failed} could not be read\nscores: {args.output / 'predictions.jsonl'}"
    )
    result = {
        "images": summary.num_images,
        "anomalous": summary.num_anomalous,
        "failed": num_failed,
        "predictions": str(args.output / "predictions.jsonl"),
    }
    exit_code = DONE if not num_failed else BAD_DATA if num_failed == summary.num_images else IN_PART
    return Outcome(text, result, summary.failed, exit_code)


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga benchmark demo --output runs/benchmark"
    parser.add_argument("table", metavar="TABLE", help="demo, screw, variants, table8 or weak")
    parser.add_argument(
        "--data", type=Path, default=None, metavar="ROOT", help="folder that holds mvtec_ad/screw and magnetic_tile"
    )
    parser.add_argument(
        "--datasets", type=_names, default=(), metavar="A,B", help="only these data sets of the table, by their folder"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the runs and TABLE.json")
    parser.add_argument("--seeds", type=_seeds, default=(0,), metavar="0,1,2", help="default 0")
    parser.add_argument(
        "--weights", default=None, metavar="imagenet|FILE", help="weights of encoder r, the demo's textures apart"
    )
    parser.set_defaults(run=benchmark)


def benchmark(args: argparse.Namespace) -> Outcome:
    from cavga.benchmark import run_table

    def show(row: dict[str, Any]) -> None:
        if not args.json:
            name = f"{row['cell']}, {row['data']}, seed {row['seed']}"
            print(f"{name}: {row['error'] or table_line('', row['metrics'])}", file=sys.stderr)

    rows = run_table(
        args.table,
        args.output,
        data=args.data,
        seeds=args.seeds,
        weights=args.weights,
        datasets=args.datasets,
        on_row=show,
    )
    failed = [f"{row['cell']}: {row['error']}" for row in rows if row["error"]]
    text = f"{len(rows) - len(failed)} of {len(rows)} cells finished: {args.output / args.table}.json"
    return Outcome(text, {"rows": rows}, failed, IN_PART if failed else DONE)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _seeds(text: str) -> tuple[int, ...]:
    if all(part.isdecimal() for part in text.split(",")):
        return tuple(int(part) for part in text.split(","))
    raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, got {text!r}")
