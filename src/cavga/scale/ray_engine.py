"""Ray as an engine: the same functions as tasks of a cluster, tried again where a worker or a node is lost.

Nothing but names and counts travels: a worker reads, computes and writes by itself, to places that all nodes share.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from cavga.errors import CavgaError, MissingExtraError
from cavga.progress import SILENT, Progress
from cavga.scale.categories import CategoryJob, CategoryRow, Each, Train
from cavga.scale.parts import Counts, PartStore
from cavga.scale.score_lists import (
    MAX_NAMED,
    PART_SIZE,
    Scorer,
    ScoringOutput,
    ScoringSummary,
    begin,
    items_of_shard,
    locked,
    parts_to_do,
    score_part,
)
from cavga.scale.storage import EXTRA, Folder, is_url
from cavga.scale.work_list import Item, Shard
from cavga.threads import limit_runtime_threads

RETRIES = 3  # of one task, whose worker or node was lost
WINDOW = 500  # parts whose names are handed to the cluster at a time
Job = TypeVar("Job")
Result = TypeVar("Result")


class LostWorkError(CavgaError):
    """Work was lost with its worker more often than it is tried again."""


def on_ray(cpus: int, gpus: float) -> Each:
    """The engine that trains each category as a task with so many processors and GPUs."""

    def each(function: Train, jobs: Sequence[CategoryJob]) -> Iterator[CategoryRow]:
        shared = [replace(job, data=job.data.absolute(), run=job.run.absolute()) for job in jobs]
        for job, row in ray_map(function, shared, cpus=cpus, gpus=gpus):
            yield CategoryRow(job.category, str(job.run), error=str(row)) if isinstance(row, LostWorkError) else row

    return each


def ray_map(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, cpus: int, gpus: float
) -> Iterator[tuple[Job, Result | LostWorkError]]:
    """The jobs with what the function makes of them, as they are done; where that is lost again and again, the error.

    What the function raises is raised.
    """
    ray = _connected()
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_with_threads)
    waiting = {task.remote(function, job, cpus): job for job in jobs}
    while waiting:
        (done, *_), _ = ray.wait(list(waiting))
        job = waiting.pop(done)
        try:
            yield job, ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            reason = str(error).strip().partition("\n")[0]
            yield job, LostWorkError(f"its worker was lost {RETRIES + 1} times ({reason}); run the same command again")


def score_on_ray(
    load: Callable[[], Scorer],
    source: str,
    output: str,
    *,
    shard: Shard,
    what: ScoringOutput,
    cpus: int = 1,
    gpus: float = 0,
    part_size: int = PART_SIZE,
    progress: Progress = SILENT,
) -> ScoringSummary:
    """As `score_shard`, each part by a worker of the cluster; `load` makes its scorer, once in each worker.

    Ray Data streams the names of parts and holds them back while all workers are busy. A part that is done is not done
    again, whatever was lost after it.
    """
    ray = _connected()
    output = output if is_url(output) else str(Path(output).absolute())
    source = source if is_url(source) else str(Path(source).absolute())
    with locked(output, shard):
        begun = begin(PartStore(Folder(output), shard), load(), what)
        progress.begin("predicting", None, "images", done=begun.counts.images)
        parts = parts_to_do(items_of_shard(source, shard), begun.done, part_size)
        work = partial(_score_part, load=load, output=output, shard=shard, what=what, cpus=cpus)
        while window := list(islice(parts, WINDOW)):
            rows = [{"items": [list(astuple(item)) for item in items]} for items in window]
            named = ray.data.from_items(rows, override_num_blocks=len(rows))
            for row in named.map(work, num_cpus=cpus, num_gpus=gpus).iter_rows():
                if row["failure"]:
                    raise CavgaError(str(row["failure"]))
                begun.summary.counts.add(Counts(row["scored"], row["anomalous"], row["bad"]))
                begun.summary.failed += list(row["errors"])[: MAX_NAMED - len(begun.summary.failed)]
                progress.advance(float(row["scored"] + row["bad"]))
    return begun.summary


def _score_part(
    row: dict[str, Any], *, load: Callable[[], Scorer], output: str, shard: Shard, what: ScoringOutput, cpus: int
) -> dict[str, Any]:
    """One part, in a worker: what comes back is how many images were scored, and what could not be read."""
    limit_runtime_threads(cpus)
    items = [Item(*values) for values in row["items"]]
    store, counts, errors, failure = PartStore(Folder(output), shard), Counts(), list[str](), ""
    keys = [item.key for item in items]
    try:
        # Its worker may have been lost after the part was written, and before that was known.
        if store.is_committed(keys):
            counts = store.counts_of(keys)
        else:
            counts, errors = score_part(_scorer(load), items, store, what)
    except CavgaError as error:
        failure = str(error)
    return {**vars(counts), "errors": errors[:MAX_NAMED], "failure": failure}


def _scorer(load: Callable[[], Scorer]) -> Scorer:
    """The scorer of this worker process, which stays from part to part."""
    name = pickle.dumps(load)  # it comes anew with every part, and is the same
    if name not in _scorers:
        _scorers.clear()
        _scorers[name] = load()
    return _scorers[name]


_scorers: dict[bytes, Scorer] = {}


def _with_threads(function: Callable[[Job], Result], job: Job, cpus: int) -> Result:
    limit_runtime_threads(cpus)
    return function(job)


def _connected() -> Any:
    """Ray, connected to the cluster of RAY_ADDRESS, to one that runs here, or to a new one of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # cavga sends nothing, and nothing that it starts does
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(f"--engine ray takes Ray: {EXTRA}") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    return ray
