"""`cavga evaluate`: measure a trained model, or anyone's maps, on labelled test images."""

import argparse
from pathlib import Path
from typing import Any

from cavga.cli.flags import add_device_flag, of_text, one_of
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.cli.parser import Rare
from cavga.cli.printing import left_out_lines, self_test_lines, table_line
from cavga.cli.waiting import waiting_told
from cavga.config.fields import parse_size
from cavga.errors import UsageError

SIZES = ("input", "original")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [flags] RUN DATA\n       %(prog)s [flags] --maps FOLDER [--scores FILE] DATA"
    parser.epilog = "example: cavga evaluate runs/screw data/screw"
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN", help="run folder, or a file that `cavga export` wrote; none with --maps"
    )
    data = parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder, manifest or known data set with labelled test images"
    )
    parser.add_argument("--output", type=Path, default=None, metavar="DIR", help="default: RUN, or the folder of maps")
    _add_map_flags(parser, data)
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
        help=Rare("LAG: share of an attention map's maximum from which on it is mask; default: the run's"),
    )
    parser.add_argument(
        "--without", type=Path, action="append", default=[], metavar="RUN",
        help="leave out what this run was trained on as well, to compare runs on the same images; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation-size", type=_evaluation_size, default=None, metavar="input|original|N|HxW",
        help="size of the pixel metrics: the model's input (default) or the photographs' own (default with --maps); "
        "N or HxW pixels with --maps only",
    )  # fmt: skip
    parser.add_argument(
        "--self-test", action="store_true",
        help="good images are enough: make anomalies on them and say which are found (self_test.json, self_test.html)",
    )  # fmt: skip
    add_device_flag(parser)
    parser.set_defaults(run=run)


def _add_map_flags(parser: argparse.ArgumentParser, data: argparse.Action) -> None:
    class MapsFlag(argparse.Action):
        """Stores its folder, and lets the line do without its second place, DATA: the first one is then the data.

        RUN with nargs="?" would not do: argparse then takes the first of `RUN --output DIR DATA` for the data.
        """

        def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, _option: Any = None) -> None:
            setattr(namespace, self.dest, values)
            data.required = False

    group = parser.add_argument_group("maps that were made elsewhere")
    group.add_argument(
        "--maps", type=Path, default=None, metavar="FOLDER", action=MapsFlag,
        help="measure these maps in place of a run: .npy, .tif, .tiff or .png, named as the test images",
    )  # fmt: skip
    group.add_argument(
        "--scores", type=Path, default=None, metavar="FILE",
        help=".csv with columns image,score (and is_anomalous), or a predictions.jsonl; default: a map's maximum",
    )  # fmt: skip
    group.add_argument(
        "--threshold", type=float, default=None, metavar="X", help=Rare("images are anomalous from here on")
    )
    group.add_argument(
        "--pixel-threshold", type=float, default=None, metavar="X", help=Rare("pixels of a map likewise")
    )


def _evaluation_size(text: str) -> str | tuple[int, int]:
    parse = of_text(parse_size) if text[:1].isdigit() else one_of("evaluation size", SIZES)
    size: str | tuple[int, int] = parse(text)
    return size


def run(args: argparse.Namespace) -> Outcome:
    if args.maps is not None:
        return _evaluate_maps(args)
    if args.scores or args.threshold is not None or args.pixel_threshold is not None:
        raise UsageError("--scores, --threshold and --pixel-threshold go with --maps: leave them out or add it")
    if args.self_test:
        return _self_test(args)
    if isinstance(args.evaluation_size, tuple):
        raise UsageError("--evaluation-size of a run is input or original; a size in pixels goes with --maps")
    from cavga.evaluation.evaluate import evaluate as evaluate_run

    with waiting_told(enabled=not args.json) as progress:
        result = evaluate_run(
            args.run_folder,
            args.data,
            args.output,
            category=args.category,
            without=args.without,
            mask_cut=args.mask_cut,
            at_original_size=args.evaluation_size == "original",
            device=args.device,
            progress=progress,
        )
    name = args.run_folder.name or str(args.run_folder)
    lines = [table_line("run", None), table_line(name, result.metrics), *left_out_lines(result.metrics["counts"])]
    lines.append(f"report: {result.folder / 'report.html'}{_beside(args, result.folder, args.run_folder)}")
    return Outcome(lines, result.metrics, result.problems, IN_PART if result.problems else DONE)


def _evaluate_maps(args: argparse.Namespace) -> Outcome:
    if args.data is not None:
        raise UsageError(f"--maps takes the place of RUN: give DATA alone, not {args.run_folder} and {args.data}")
    if args.self_test or args.device != "auto" or args.evaluation_size == "input":
        raise UsageError("--maps takes neither --self-test, --device nor --evaluation-size input: there is no model")
    from cavga.evaluation.external_maps import ExternalMaps, evaluate_maps

    with waiting_told(enabled=not args.json) as progress:
        result = evaluate_maps(
            ExternalMaps(args.maps, args.scores, args.threshold, args.pixel_threshold),
            args.run_folder,  # the one place that was filled
            args.output,
            size=args.evaluation_size if isinstance(args.evaluation_size, tuple) else None,
            category=args.category,
            without=args.without,
            mask_cut=args.mask_cut,
            progress=progress,
        )
    name = args.maps.name or str(args.maps)
    lines = [table_line("maps", None), table_line(name, result.metrics), *left_out_lines(result.metrics["counts"])]
    lines.append(f"an image's score: {result.metrics['provenance']['image_score']}")
    lines.append(f"report: {result.folder / 'report.html'}{_beside(args, result.folder, args.maps)}")
    return Outcome(lines, result.metrics, result.problems, IN_PART if result.problems else DONE)


def _self_test(args: argparse.Namespace) -> Outcome:
    if args.without or args.evaluation_size not in (None, "input"):
        raise UsageError("--self-test takes neither --without nor --evaluation-size: leave them out")
    from cavga.evaluation.self_test import self_test

    with waiting_told(enabled=not args.json) as progress:
        test = self_test(
            args.run_folder, args.data, args.output, category=args.category, device=args.device, progress=progress
        )
    page = f"page: {test.folder / 'self_test.html'}{_beside(args, test.folder, args.run_folder)}"
    lines = [*self_test_lines(test.result), page]
    return Outcome(lines, test.result, test.problems, IN_PART if test.problems else DONE)


def _beside(args: argparse.Namespace, folder: Path, usual: Path) -> str:
    """Why the results are not where they usually are."""
    return "" if args.output is not None or folder == usual else f" ({usual} keeps its results of other data)"
