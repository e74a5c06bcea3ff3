"""Experiments of a table: a configuration -> a run folder -> one JSON row; no finished experiment is run twice.

The table's files are written after every experiment by cavga.benchmark.tables.files.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file, written_together
from cavga.benchmark.baselines.run_baseline import run_baseline
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.index import folder_of
from cavga.benchmark.experiments.selection import Selection, select_experiments
from cavga.benchmark.promised_rates import at_promised_rates
from cavga.benchmark.resources import code_version, images_per_second, peak_memory_mb, reset_peak_memory
from cavga.benchmark.tables.content import TableContent
from cavga.benchmark.tables.files import write_table
from cavga.benchmark.tables.grids import Row
from cavga.benchmark.tables.reported import ReportedTable
from cavga.benchmark.textures import TEXTURES, write_textures
from cavga.benchmark.training_sets import data_of
from cavga.calibration.thresholds import Calibration
from cavga.config.schema import as_dict, is_one_cycle
from cavga.data.manifest import sha256_of
from cavga.data.readers.layouts import where_to_get
from cavga.errors import CavgaError, DataError, ModelFileError, UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.inference.lines import PREDICTIONS_FILE
from cavga.regular_files import NotRegularError, read_regular
from cavga.runs.model_json import LOG_FILE, load_description
from cavga.structured_files import StructureError, parse_json
from cavga.training.gan_weights import read_gan_weights
from cavga.training.train import train

ROW_FILE = "row.json"
CONVERGED = 0.01  # relative change of the objective from one epoch to the next


@dataclass(frozen=True)
class TableRun:
    """What `run_table` did."""

    experiments: list[Experiment]
    num_experiments: int
    """How many the table has, those among them that were not to be run."""
    rows: list[Row]
    """One an experiment, in the same order."""
    absent: list[dict[str, str]]
    """Data sets that are not there: `data` and `message`."""
    files: list[Path]


def run_table(
    table: str,
    output: Path,
    *,
    data: Path | None = None,
    selection: Selection | None = None,
    reported: ReportedTable | None = None,
    on_row: Callable[[Row], None] = lambda _row: None,
    write: Callable[[Path, TableContent], list[Path]] = write_table,
    only_finished: bool = False,
) -> TableRun:
    """Run every experiment of a table, or of a figure, that is not finished; with `only_finished` none.

    `write` makes files of what is there after each experiment: OUTPUT/<table>.json, .md, .csv and .html. Experiments of
    data sets that are not there are left out and named in `absent`; raises DataError if none is there.
    """
    selection = selection or Selection()
    experiments, absent = find_experiments(table, output, data=data, selection=selection)
    planned = [
        (experiment, output / folder_of(table, experiment.set_name, selection.epochs)) for experiment in experiments
    ]
    if only_finished:
        planned = [
            (experiment, place) for experiment, place in planned if (place / experiment.folder / ROW_FILE).is_file()
        ]
        if not planned:
            places = ", ".join(
                sorted(
                    {
                        str(output / folder_of(table, experiment.set_name, selection.epochs))
                        for experiment in experiments
                    }
                )
            )
            advice = "runs cut by --epochs lie in folders of their own, and without --finished experiments are run"
            raise UsageError(f"{places}: no finished experiment of {table}; {advice}")
    if any(experiment.data in TEXTURES for experiment, _ in planned):
        write_textures(output / "data")
    rows: list[Row] = []
    files: list[Path] = []
    for experiment, place in planned:
        root = output / "data" if experiment.data in TEXTURES else data
        row = run_experiment(experiment, root or output, place)
        rows.append(row)
        if not only_finished or len(rows) == len(planned):  # after every experiment that takes time
            with written_together():
                files = write(output, TableContent(table, rows, len(experiments), absent, reported))
        on_row(row)
    return TableRun([experiment for experiment, _ in planned], len(experiments), rows, absent, files)


@dataclass(frozen=True)
class Planned:
    """An experiment with where its data and its output are: it goes to other machines as it is."""

    experiment: Experiment
    root: Path
    output: Path


def run_ahead(
    table: str,
    output: Path,
    *,
    data: Path | None,
    selection: Selection,
    each: Callable[[Callable[[Planned], Row], Sequence[Planned]], Iterable[object]],
) -> None:
    """Run by an engine what is not finished of a table; `run_table` then finds it, and runs what failed.

    First what needs no other experiment's run, and then the rest.
    """
    experiments, _ = find_experiments(table, output, data=data, selection=selection)
    if any(experiment.data in TEXTURES for experiment in experiments):
        write_textures(output / "data")
    planned = [
        Planned(
            experiment,
            (output / "data" if experiment.data in TEXTURES else data or output).absolute(),
            (output / folder_of(table, experiment.set_name, selection.epochs)).absolute(),
        )
        for experiment in experiments
    ]
    unfinished = [one for one in planned if not (one.output / one.experiment.folder / ROW_FILE).is_file()]
    for is_first in (True, False):
        for _ in each(_run_planned, [one for one in unfinished if _needs_no_other(one.experiment) is is_first]):
            pass


def _needs_no_other(experiment: Experiment) -> bool:
    return experiment.method == "cavga" and experiment.without is None


def _run_planned(planned: Planned) -> Row:
    return run_experiment(planned.experiment, planned.root, planned.output)


def find_experiments(
    table: str, output: Path, *, data: Path | None, selection: Selection
) -> tuple[list[Experiment], list[dict[str, str]]]:
    """The experiments whose data is there, and the data sets that are not; raises what no experiment could be run with.

    Nothing is written, so that an earlier table stays.
    """
    experiments = select_experiments(table, selection)
    needed = sorted({experiment.data for experiment in experiments} - set(TEXTURES))
    if needed and data is None:
        raise UsageError(f"{table} needs --data ROOT, the folder that holds {', '.join(needed)}")
    refuse_file(output)
    there = [
        experiment
        for experiment in experiments
        if experiment.data in TEXTURES or (data is not None and (data / experiment.data).is_dir())
    ]
    if data is not None and not there:
        wanted = [experiment for experiment in experiments if not experiment.is_extra] or experiments
        raise DataError(
            f"{data} holds none of {', '.join(needed)}: {_where({experiment.set_name for experiment in wanted})}"
        )
    weights = selection.weights
    if weights not in (None, "imagenet", "none") and not Path(str(weights)).is_file():
        raise ModelFileError(f"no such weights file: {weights}")
    if selection.gan_weights is not None:
        read_gan_weights(selection.gan_weights)
    lacking = [experiment for experiment in experiments if experiment not in there and not experiment.is_extra]
    return there, _absent(data or Path(), experiments, lacking)


def _absent(root: Path, experiments: Sequence[Experiment], lacking: Sequence[Experiment]) -> list[dict[str, str]]:
    """One line for each data set of which something is not there."""
    absent = []
    for name in dict.fromkeys(experiment.set_name for experiment in lacking):
        folders = dict.fromkeys(experiment.data for experiment in lacking if experiment.set_name == name)
        wanted = {experiment.data for experiment in experiments if experiment.set_name == name}
        what = f"{root / name} is not there"
        if len(folders) < len(wanted):
            what = f"{root}: {len(folders)} of {len(wanted)} folders are not there ({', '.join(folders)})"
        absent.append({"data": name, "message": f"{what}: {_where([name])}"})
    return absent


def _where(names: Iterable[str]) -> str:
    return "; ".join(where_to_get(name, otherwise=f"put it into {name}/ there") for name in sorted(names))


def run_experiment(experiment: Experiment, root: Path, output: Path) -> Row:
    """One row: from its file if the experiment is finished, else computed; a failure is a row that says why."""
    run = output / experiment.folder
    row: Row = {"cell": experiment.name, "data": experiment.data, "part": experiment.part, "method": experiment.method,
                "preset": experiment.preset, "seed": experiment.seed, "note": experiment.note}  # fmt: skip
    if experiment.normal_class is not None:
        row["normal_class"] = experiment.normal_class
    if experiment.contamination is not None:
        row["contamination"] = experiment.contamination
    if experiment.num_images is not None:
        row["num_images"] = experiment.num_images
    settings = _settings_of(experiment)
    if (run / ROW_FILE).is_file():
        return _finished(run, row, settings)
    if run.exists():
        shutil.rmtree(run)  # begun and not finished
    started, is_measured, code = time.monotonic(), reset_peak_memory(), code_version()
    try:
        data = data_of(experiment, root, output)
        results = (_cavga if experiment.method == "cavga" else run_baseline)(experiment, data, run, output)
    except CavgaError as error:
        return {**row, "error": str(error)}
    except (RuntimeError, MemoryError) as error:  # torch, out of memory: the other experiments are still worth running
        return {**row, "error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
    row |= {
        "error": None,
        "minutes": round((time.monotonic() - started) / 60, 2),
        "images_per_second": images_per_second(run / PREDICTIONS_FILE),
        "peak_memory_mb": peak_memory_mb() if is_measured else None,
        "code": code,
        "settings": settings,
        **results,
    }
    atomic_write(run / ROW_FILE, (json.dumps(row, indent=1) + "\n").encode())
    return row


def _settings_of(experiment: Experiment) -> str:
    """One sha256 for all that an experiment's figures depend on besides data and code."""
    config = as_dict(experiment.config())
    config["training"].pop("device")
    config["model"]["weights"] = Path(config["model"]["weights"]).name
    gan_weights = config["model"].pop("gan_weights")
    if gan_weights is not None:
        config["model"]["gan_weights"] = sha256_of(Path(gan_weights))  # by content: files of that name are made anew
    parts = [config, experiment.method, experiment.features_of, experiment.without, experiment.contamination]
    parts += [] if experiment.num_images is None else [experiment.num_images]  # nothing, as in rows of earlier versions
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_row(run: Path) -> Row:
    """The row of a finished experiment; raises DataError where its file is not one."""
    path = run / ROW_FILE
    try:
        return parse_json(read_regular(path), dict)
    except (StructureError, NotRegularError) as error:
        raise DataError(
            f"{path} is no row of `cavga benchmark` ({error}): remove it to run the experiment anew"
        ) from None


def _finished(run: Path, row: Row, settings: str) -> Row:
    """The row of a finished experiment; a failure if it was run with other settings than are asked for now."""
    found = read_row(run)
    if found.get("settings", settings) == settings:  # rows of earlier versions do not say
        return {**found, "note": row["note"]}  # of the same settings, in the words of now
    problem = "holds this experiment with other settings; choose another --output, or remove that folder to run it anew"
    return {**row, "error": f"{run} {problem}"}


def _cavga(experiment: Experiment, data: Path, run: Path, output: Path) -> dict[str, Any]:
    train(data, run, experiment.config(), with_export=False)
    without = [replace(experiment, name=experiment.without).folder] if experiment.without else []
    category = experiment.config().data.category  # a normal class is taken from the run itself
    metrics = evaluate(run, data, category=category, without=[output / name for name in without]).metrics
    metrics["provenance"]["without"] = without  # below OUTPUT: the row is read elsewhere
    log = [parse_json(line, dict) for line in (run / LOG_FILE).read_bytes().splitlines()]
    losses = {key: value for key, value in log[-1].items() if isinstance(value, float)}
    fell = is_one_cycle(experiment.config()) and len(log) > 1  # then a still objective says nothing
    converged = None if fell else has_converged([line["total"] for line in log])
    calibration = Calibration.from_dict(load_description(run)["calibration"])
    promised = at_promised_rates(calibration, run / PREDICTIONS_FILE)
    return {"metrics": metrics, "promised": promised, "epochs": len(log), "rate_fell": fell, "converged": converged,
            "losses": losses}  # fmt: skip


def has_converged(totals: Sequence[float]) -> bool | None:
    """Whether the objective moved by less than 1 % in each of the last two epochs; None below three epochs."""
    if len(totals) < 3:
        return None
    steps = zip(totals[-3:-1], totals[-2:], strict=True)
    return all(abs(after - before) < CONVERGED * abs(before) for before, after in steps)
