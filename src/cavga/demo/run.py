"""The demo: the bundled photographs, from training to one report."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file, temporary_of, written_together
from cavga.config.schema import RunConfig
from cavga.demo.papers import PAPER_SIDE, PAPERS, SOURCE, write_papers
from cavga.errors import UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.evaluation.report import write_report
from cavga.output_lock import is_lock, writing_to
from cavga.progress import SILENT, Progress
from cavga.runs.model_json import CONFIG_FILE
from cavga.training.train import train

logger = logging.getLogger("cavga")

TITLE = f"cavga demo: impurities in three papers (photographs: {SOURCE})"
# Weights that come with the package index, so that nothing is downloaded while training.
# r-u takes seconds a paper where the default takes minutes.
DEMO_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"image_size": (PAPER_SIDE, PAPER_SIDE)},
    "model": {"variant": "r-u", "encoder": "efficientnet_lite0", "weights": "imagenet"},
}


def run_demo(
    output: Path,
    config: RunConfig,
    *,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train and evaluate one model per paper; returns paper -> metrics.

    Writes OUTPUT/<paper> (run folders), OUTPUT/data, OUTPUT/summary.json and OUTPUT/report.html. A demo
    that is already there is replaced, when the new one is done; any other folder is refused.
    """
    refuse_file(output)
    with writing_to(output):
        return _run_demo(output, config, progress)


def _run_demo(output: Path, config: RunConfig, progress: Progress) -> dict[str, Any]:
    _refuse_others(output)
    folders = _bundled(output / "data")
    summary, sections = {}, []
    # The runs of an earlier demo stay until all new ones are there: whoever stops half-way loses nothing.
    new = temporary_of(output / "runs")
    try:
        for paper in PAPERS:
            logger.info("%s", paper)
            run = train(folders[paper], new / paper, config, progress=progress)
            result = evaluate(run, folders[paper], device=config.training.device, progress=progress)
            summary[paper] = result.metrics
            sections.append(result.section)
        for paper in PAPERS:
            _replace(output / paper, new / paper)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    with written_together():
        write_report(output / "report.html", TITLE, sections)
        atomic_write(output / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _refuse_others(output: Path) -> None:
    """Raise UsageError where there is something else than an earlier demo, or nothing."""
    if all(is_lock(path.name) for path in output.iterdir()):
        return
    has_data = all((output / "data" / paper).is_dir() for paper in PAPERS)
    runs = [output / paper for paper in PAPERS if (output / paper).exists()]
    if not has_data or not all((run / CONFIG_FILE).is_file() for run in runs):
        raise UsageError(f"{output} holds something other than a demo: choose another --output")


def _bundled(data: Path) -> dict[str, Path]:
    """The bundled photographs, in the place of those that an earlier demo wrote; paper -> folder."""
    new = temporary_of(data)
    try:
        write_papers(new)
        _replace(data, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return {paper: data / paper for paper in PAPERS}


def _replace(folder: Path, new: Path) -> None:
    """Put a folder in the place of one that may be there."""
    old = temporary_of(folder)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
