"""`cavga demo`: train and evaluate on the bundled photographs."""

import argparse
from pathlib import Path

from cavga.cli.flags import add_config_flags, config_from_flags
from cavga.cli.outcome import Outcome
from cavga.cli.printing import table_line
from cavga.cli.waiting import waiting_told

_NOT_FOR_THE_DEMO = (
    *("category", "normal_class", "mask_cut", "layout", "calibration_fraction", "weights", "encoder", "tile", "roi"),
    "gan_weights",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga demo --output runs/demo"
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="default runs/demo")
    add_config_flags(parser, leave_out=_NOT_FOR_THE_DEMO)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.demo.run import DEMO_SETTINGS, run_demo

    config = config_from_flags(args, lambda _preset: DEMO_SETTINGS)
    with waiting_told(enabled=not args.json) as progress:
        summary = run_demo(args.output, config, progress=progress)
    lines = [table_line("paper", None)]
    lines += [table_line(paper, metrics) for paper, metrics in summary.items()]
    lines.append(f"report: {args.output / 'report.html'}")
    return Outcome(lines, summary)
