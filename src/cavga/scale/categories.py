"""One run a category, by whatever engine: resumed by what is done, summed up in one file and one table."""

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file
from cavga.config.schema import RunConfig, as_dict
from cavga.data.folder_names import meaning, split_of
from cavga.data.tables import stream_table
from cavga.errors import CavgaError, DataError, ResumeError, UsageError, unknown_name
from cavga.images.walk import subfolders
from cavga.output_lock import writing_to
from cavga.progress import SILENT, Progress
from cavga.regular_files import open_regular
from cavga.runs.model_json import CONFIG_FILE, MODEL_FILE, load_description
from cavga.scale.work_list import PACKED_FOLDER, is_manifest
from cavga.structured_files import StructureError, parse_json

SUMMARY_FILE, TABLE_FILE = "categories.json", "categories.csv"
ALL = "all"

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class CategoryJob:
    """What one category's run is made from; it goes to other machines as it is."""

    category: str
    data: Path
    run: Path
    config: RunConfig
    with_export: bool


@dataclass(frozen=True)
class CategoryRow:
    """What became of a category; `packed_bytes` is None of a model that does not share its encoder."""

    category: str
    run: str
    images: int | None = None
    left_out: int | None = None
    threshold: float | None = None
    seconds: float | None = None
    packed_bytes: int | None = None
    in_half: bool | None = None
    error: str | None = None


Train = Callable[[CategoryJob], CategoryRow]
Each = Callable[[Train, Sequence[CategoryJob]], Iterable[CategoryRow]]
"""An engine: calls the function for each of the jobs, in any order and anywhere."""


def one_after_the_other(function: Train, jobs: Sequence[CategoryJob]) -> Iterator[CategoryRow]:
    """The engine of one machine."""
    return map(function, jobs)


def categories_of(data: Path) -> list[str]:
    """The categories of a manifest's column, or the folders below ROOT; raises DataError or UsageError."""
    if is_manifest(str(data)):
        try:
            with open_regular(data) as file:
                found = sorted({row["category"] for _, row in stream_table(file, str(data))} - {""})
        except OSError as error:
            raise DataError(f"{data}: cannot be read: {error.strerror}; check the path and its rights") from error
        if not found:
            raise DataError(f"{data}: no line says a category; fill in a column category")
    else:
        if not data.is_dir():
            raise DataError(f"{data}: expected a folder with a folder for each category, or a manifest")
        found = [folder.name for folder in subfolders(data)]
        if not found or any(meaning(name) or split_of(name) for name in found):
            raise UsageError(
                f"{data} is one category: expected a folder with a folder for each category, or a manifest"
            )
    for name in found:
        if name in (PACKED_FOLDER, ".", "..") or name[0] == "." or any(sign in name for sign in '/\\:*?"<>|\n'):
            raise DataError(f"{data}: category {name!r} cannot be the name of a run's folder; call it otherwise")
    return found


def train_category(job: CategoryJob) -> CategoryRow:
    """Train one category, or go on with it, or read what is done; what goes wrong is in its row."""
    from cavga.scale.packed import pack
    from cavga.training.train import train

    started, row = time.monotonic(), CategoryRow(job.category, str(job.run))
    try:
        is_done = (job.run / MODEL_FILE).is_file()
        if not is_done:
            is_begun = (job.run / CONFIG_FILE).is_file()
            logger.info("category %s", job.category)
            train(job.data, job.run, job.config, resume=is_begun, with_export=job.with_export)
        description, packed = load_description(job.run), pack(job.run)
    except CavgaError as error:
        return replace(row, error=str(error))
    except (RuntimeError, MemoryError) as error:  # torch, out of memory: the others are still worth training
        return replace(row, error=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    origin = description["provenance"]
    return replace(
        row,
        images=origin["train"],
        left_out=len(origin["left_out"]),
        threshold=description["calibration"]["image_threshold"],
        seconds=origin["training_seconds"] if is_done else round(time.monotonic() - started, 1),
        packed_bytes=None if packed is None else packed.num_bytes,
        in_half=None if packed is None else packed.in_half,
    )


def train_categories(
    data: Path,
    output: Path,
    config: RunConfig,
    *,
    chosen: Sequence[str] | None = None,
    each: Each = one_after_the_other,
    with_export: bool = False,
    progress: Progress = SILENT,
) -> list[CategoryRow]:
    """Train every category of `data`, or those `chosen`, into OUTPUT/CATEGORY; returns their rows by name.

    What is done stays, what was begun goes on. OUTPUT/categories.json and categories.csv are written after every row.
    Raises DataError or UsageError before anything is written, ResumeError where OUTPUT has runs of other settings.
    """
    names = categories_of(data)
    for name in chosen or ():
        if name not in names:
            raise unknown_name("category", name, names)
    refuse_file(output)
    is_table = is_manifest(str(data))
    jobs = [
        CategoryJob(
            name,
            data if is_table else data / name,
            output / name,
            replace(config, data=replace(config.data, category=name)) if is_table else config,
            with_export,
        )
        for name in chosen or names
    ]
    progress.begin("training", len(jobs), "categories")
    with writing_to(output):
        rows = _rows_of_before(output, config)
        for row in each(train_category, jobs):
            rows[row.category] = row
            _write_summary(output, config, rows)
            progress.advance()
    return [rows[job.category] for job in sorted(jobs, key=lambda job: job.category)]


def _rows_of_before(output: Path, config: RunConfig) -> dict[str, CategoryRow]:
    """The rows of an earlier call; raises ResumeError where it had other settings."""
    path = output / SUMMARY_FILE
    if not path.is_file():
        return {}
    try:
        document = parse_json(path.read_bytes(), dict)
        rows = {row["category"]: CategoryRow(**row) for row in document["rows"]}
    except (StructureError, KeyError, TypeError):
        raise ResumeError(f"{path} is damaged: remove it, and it is written again from the runs") from None
    if document.get("config") != _settings(config):
        raise ResumeError(f"{output} holds runs of other settings: use the same ones, or choose another --output")
    return rows


def _write_summary(output: Path, config: RunConfig, rows: dict[str, CategoryRow]) -> None:
    found = [asdict(rows[name]) for name in sorted(rows)]
    document = {"config": _settings(config), "rows": found}
    atomic_write(output / SUMMARY_FILE, (json.dumps(document, indent=1) + "\n").encode())
    text = io.StringIO()
    table = csv.DictWriter(text, list(CategoryRow.__dataclass_fields__), lineterminator="\n")
    table.writeheader()
    table.writerows(found)
    atomic_write(output / TABLE_FILE, text.getvalue().encode(errors="surrogateescape"))


def _settings(config: RunConfig) -> dict[str, Any]:
    """Settings as they come back from JSON, without where it is computed."""
    settings = parse_json(json.dumps(as_dict(config)), dict)
    del settings["training"]["device"]
    return dict(settings)
