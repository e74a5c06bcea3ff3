"""`cavga benchmark`: a table or figure of the paper, or a table of our own, measured here."""

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cavga.atomic_files import refuse_file
from cavga.cli.at_scale import add_engine_flags, settle_engine
from cavga.cli.console import note
from cavga.cli.flags import one_of
from cavga.cli.outcome import BAD_DATA, DONE, IN_PART, Outcome
from cavga.cli.printing import table_line
from cavga.data.readers.layouts import known_folders
from cavga.errors import UsageError
from cavga.output_lock import writing_to

if TYPE_CHECKING:
    from cavga.benchmark.estimate import Estimate
    from cavga.benchmark.experiments.selection import Selection

TABLES = (
    "the paper's: table1 (working properties), table2 (numbers of images), table3 and table6 (MVTec AD, the same "
    "runs), table4 (mSTC), table5 (LAG), table7 (one class normal), table8 (ablation); its figures: fig1 (attention "
    "with and without L_ae), fig1ii (improvement over the best baseline, from the tables in DIR), fig3 (results), fig4 "
    "(failures, by contrast), fig5 (ablation); our own: textures, screw, variants, weak, accuracy, new-sets, "
    "auto-size, contamination, data-curve (how many good images it takes, with and without L_ae)"
)
ROOT = f"folder that holds mvtec_ad/<category>, {', '.join(known_folders())}, magnetic_tile"


# fmt: off
def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga benchmark table3 --data data --output runs/tables --epochs 5"
    parser.add_argument("table", metavar="TABLE", help=TABLES)
    parser.add_argument("--data", type=Path, default=None, metavar="ROOT", help=ROOT)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR",
                        help="folder for the runs and TABLE.json, .md, .csv, .html (of a figure .json, .html); "
                             "finished runs in it are kept")
    parser.add_argument("--datasets", type=_names, default=(), metavar="A,B", help="only these folders of ROOT")
    parser.add_argument("--categories", "--classes", type=_names, default=(), metavar="A,B",
                        help="only these categories, scenes or normal classes")
    parser.add_argument("--variants", type=_names, default=(), metavar="A,B",
                        help="only these variants and baselines (r-u, d-w, padim), and what they stand on")
    parser.add_argument("--preset", type=one_of("preset", ("paper", "recommended")), default=None,
                        metavar="paper|recommended", help="only rows of this preset (baselines: recommended)")
    parser.add_argument("--seeds", type=_seeds, default=(0,), metavar="0,1,2",
                        help="default 0; of a figure the first one")
    parser.add_argument("--epochs", type=int, default=None, metavar="N",
                        help="train no longer than this; rows that would have trained longer say so")
    parser.add_argument("--weights", default=None, metavar="imagenet|FILE",
                        help="weights of encoder r, the textures apart")
    parser.add_argument("--gan-weights", type=Path, default=None, metavar="FILE",
                        help="what the DC-GAN parts of the rows of preset paper start from (`cavga pretrain`)")
    parser.add_argument("--reported", type=Path, default=None, metavar="FILE.csv",
                        help="figures beside ours, or in place of the recalled ones: table,row,column,value")
    parser.add_argument("--shaky", action="store_true",
                        help="show the figures of the paper too that are remembered less surely")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--estimate", action="store_true",
                         help="time one short experiment, say what the table takes, and run nothing else")
    instead.add_argument("--finished", action="store_true",
                         help="write the files from the experiments in DIR that are finished, and run none")
    add_engine_flags(parser, "experiment")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Outcome:
    from cavga.benchmark.experiments.index import IMPROVEMENTS_FIGURE, SUMMARIES
    from cavga.benchmark.experiments.selection import Selection
    from cavga.benchmark.figures.index import FIGURES, first_seed

    is_summary = args.table in SUMMARIES or args.estimate or args.finished
    settle_engine(args, only_local="nothing is trained here: choose another table or flag" if is_summary else None)
    selection = Selection(
        args.seeds, args.weights, args.datasets, args.categories, args.variants, args.preset, args.epochs,
        args.gan_weights,
    )  # fmt: skip
    if args.table in FIGURES or args.table == IMPROVEMENTS_FIGURE:
        _refuse_flags_of_tables(args)
        selection = first_seed(selection)
    if args.estimate:
        return _estimate(args, selection)
    refuse_file(args.output)
    with writing_to(args.output):
        return _summary(args, selection) if args.table in SUMMARIES else _run(args, selection)


def _run(args: argparse.Namespace, selection: "Selection") -> Outcome:
    """Experiments, and what is made of them."""
    from cavga.benchmark.figures.index import FIGURES, run_figure
    from cavga.benchmark.runner import run_table
    from cavga.benchmark.tables.grids import place_of
    from cavga.benchmark.tables.reported import load_reported

    def show(row: dict[str, Any]) -> None:
        if not args.json:
            name = f"{row['cell']}, {place_of(row)}, seed {row['seed']}"
            note(f"{name}: {row['error'] or table_line('', row['metrics'])}")

    if args.engine == "ray":
        _run_ahead(args, selection)
    if args.table in FIGURES:
        done = run_figure(args.table, args.output, data=args.data, selection=selection, on_row=show,
                          only_finished=args.finished)  # fmt: skip
    else:
        reported = load_reported(args.table, shaky=args.shaky, given=args.reported)
        done = run_table(args.table, args.output, data=args.data, selection=selection, reported=reported, on_row=show,
                         only_finished=args.finished)  # fmt: skip
    num_to_come = done.num_experiments - len(done.rows)
    what = f"experiments finished, {num_to_come} more to come" if num_to_come else "experiments finished"
    return _outcome(done.rows, done.absent, done.files, what=what)


def _run_ahead(args: argparse.Namespace, selection: "Selection") -> None:
    """Let a Ray cluster run what is not finished."""
    from cavga.benchmark.runner import run_ahead
    from cavga.scale.ray_engine import ray_map

    each = partial(ray_map, cpus=args.cpus or 1, gpus=args.gpus or 0)
    run_ahead(args.table, args.output, data=args.data, selection=selection, each=each)


def _summary(args: argparse.Namespace, selection: "Selection") -> Outcome:
    """What nothing is trained for."""
    from cavga.benchmark.experiments.index import COUNTS_TABLE, PROPERTIES_TABLE
    from cavga.benchmark.tables.reported import load_reported
    from cavga.benchmark.tables.table_1_files import write_properties
    from cavga.benchmark.tables.table_2 import count_table

    if args.table == PROPERTIES_TABLE:
        if args.data is not None:
            raise UsageError(f"{args.table} looks at methods, not at images: leave --data out")
        described = write_properties(args.output, selection=selection)
        return _outcome(described.rows, [], described.files, what="methods described")
    if args.table == COUNTS_TABLE:
        reported = load_reported(args.table, shaky=args.shaky, given=args.reported)
        counts = count_table(args.output, data=args.data, selection=selection, reported=reported)
        return _outcome(counts.rows, counts.absent, counts.files, what="parts counted")
    return _improvements(args, selection)


def _refuse_flags_of_tables(args: argparse.Namespace) -> None:
    if args.reported is not None or args.shaky:
        raise UsageError(f"{args.table} is a figure: --reported and --shaky are for tables; leave them out")


def _improvements(args: argparse.Namespace, selection: "Selection") -> Outcome:
    from cavga.benchmark.experiments.selection import Selection
    from cavga.benchmark.figures.figure_1ii import draw_improvements

    if args.data is not None or selection != Selection(selection.seeds):
        raise UsageError(f"{args.table} is of the tables that lie in --output, as they are: leave out all other flags")
    lines, absent, files = draw_improvements(args.output)
    text = f"{len(lines)} lines: {', '.join(map(str, files))}"
    result = {"lines": [vars(line) for line in lines], "absent": absent, "files": [str(path) for path in files]}
    return Outcome([text], result, [item["message"] for item in absent], BAD_DATA if absent else DONE)


def _outcome(rows: list[dict[str, Any]], absent: list[dict[str, str]], files: list[Path], *, what: str) -> Outcome:
    failed = [f"{row.get('cell') or row['set']}: {row['error']}" for row in rows if row["error"]]
    problems = [*(item["message"] for item in absent), *failed]
    num_absent = sum("here" in row and row["here"] is None and not row["error"] for row in rows)  # of Table 2
    text = f"{len(rows) - len(failed) - num_absent} of {len(rows)} {what}: {', '.join(map(str, files))}"
    result = {"rows": rows, "absent": absent, "files": [str(path) for path in files]}
    return Outcome([text], result, problems, IN_PART if failed else BAD_DATA if absent else DONE)


def _estimate(args: argparse.Namespace, selection: "Selection") -> Outcome:
    from cavga.benchmark.estimate import estimate_table

    logging.getLogger("cavga").setLevel(logging.WARNING)  # what the timed experiment has to say is of no use to anyone
    found = estimate_table(args.table, args.output, data=args.data, selection=selection)
    problems = [item["message"] for item in found.absent]
    return Outcome(_estimate_lines(found), found.as_dict(), problems, BAD_DATA if problems else DONE)


def _estimate_lines(found: "Estimate") -> list[str]:
    if found.timing is None:
        return [f"{found.table}: all {found.num_finished} experiments are finished"]
    names = dict.fromkeys(experiment.experiment for experiment in found.experiments)
    lines = [
        f"timed: {found.timing.experiment} on {found.timing.data}, one epoch of a few images: "
        f"{found.timing.seconds:.0f} s"
    ]
    for name in names:
        of_name = [experiment for experiment in found.experiments if experiment.experiment == name]
        each = sum(experiment.minutes for experiment in of_name) / len(of_name)
        basis = "as finished ones" if of_name[0].basis == "finished" else "scaled by images and epochs"
        lines.append(f"  {name}: {len(of_name)} experiments, {each:.1f} minutes each ({basis})")
    hours = found.minutes / 60
    lines.append(
        f"{len(found.experiments)} experiments to run, {found.num_finished} finished: "
        f"about {found.minutes:.0f} minutes ({hours:.1f} hours), one after the other on this machine"
    )
    lines.append(
        "An experiment of another kind than the timed one may take several times more or less: "
        "finished experiments correct it."
    )
    return lines


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _seeds(text: str) -> tuple[int, ...]:
    if all(part.isdecimal() for part in text.split(",")):
        return tuple(int(part) for part in text.split(","))
    raise argparse.ArgumentTypeError(f"expected whole numbers separated by commas, got {text!r}")
