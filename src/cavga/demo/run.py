"""The demo: the bundled photographs, from training to one report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file, written_together
from cavga.config.schema import RunConfig
from cavga.demo.papers import PAPER_SIDE, PAPERS, SOURCE, write_papers
from cavga.errors import UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.evaluation.report import write_report
from cavga.output_lock import is_lock, writing_to
from cavga.training.loop import Progress
from cavga.training.run_folder import CONFIG_FILE
from cavga.training.train import train

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
    announce: Callable[[str], None] = lambda _paper: None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> dict[str, Any]:
    """Train and evaluate one model per paper; returns paper -> metrics.

    Writes OUTPUT/<paper> (run folders), OUTPUT/data, OUTPUT/summary.json and OUTPUT/report.html. A demo
    that is already there is replaced; any other folder is refused.
    """
    refuse_file(output)
    with writing_to(output):
        return _run_demo(output, config, announce, on_step)


def _run_demo(
    output: Path, config: RunConfig, announce: Callable[[str], None], on_step: Callable[[Progress], None]
) -> dict[str, Any]:
    _clear(output)
    folders = write_papers(output / "data")
    summary, sections = {}, []
    for paper in PAPERS:
        announce(paper)
        run = train(folders[paper], output / paper, config, on_step=on_step)
        result = evaluate(run, folders[paper], device=config.training.device)
        summary[paper] = result.metrics
        sections.append(result.section)
    with written_together():
        write_report(output / "report.html", TITLE, sections)
        atomic_write(output / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _clear(output: Path) -> None:
    """Make room for a demo, touching nothing but an earlier demo's own folders."""
    if all(is_lock(path.name) for path in output.iterdir()):
        return
    is_demo = all((output / "data" / paper).is_dir() for paper in PAPERS)
    if not is_demo:
        raise UsageError(f"{output} holds something other than a demo: choose another --output")
    for paper in PAPERS:
        if (output / paper / CONFIG_FILE).is_file():
            shutil.rmtree(output / paper)
    shutil.rmtree(output / "data")
    for name in ("summary.json", "report.html"):
        (output / name).unlink(missing_ok=True)
