"""`cavga evaluate`: measure a trained model on labelled test images."""

import argparse
from pathlib import Path

from cavga.config import DEVICES
from cavga.errors import UsageError
from cavga.flags import one_of
from cavga.printing import self_test_lines, table_line
from cavga.verbs.outcome import DONE, IN_PART, Outcome


def add_flags(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
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
