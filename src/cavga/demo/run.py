"""The demo: the bundled photographs, from training to one report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write, refuse_file, written_together
from cavga.config.schema import RunConfig
from cavga.demo.textures import CUT, TEXTURES, write_demo_data
from cavga.errors import UsageError
from cavga.evaluation.evaluate import evaluate
from cavga.evaluation.report import write_report
from cavga.output_lock import is_lock, writing_to
from cavga.training.loop import Progress
from cavga.training.run_folder import CONFIG_FILE
from cavga.training.train import train

# No ImageNet weights, so that the demo needs no download; 65 images need more passes than the default.
TEXTURE_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"image_size": (CUT, CUT)},
    "model": {"weights": "none"},
    "training": {"epochs": 20},
}


def demo_settings(preset: str) -> dict[str, dict[str, Any]]:
    """What the demo sets: an epoch on synthetic anomalies takes longer than one on good images alone."""
    return TEXTURE_SETTINGS if preset != "recommended" else {**TEXTURE_SETTINGS, "training": {"epochs": 10}}


def run_demo(
    output: Path,
    config: RunConfig,
    *,
    announce: Callable[[str], None] = lambda _texture: None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> dict[str, Any]:
    """Train and evaluate one model per texture; returns texture -> metrics.

    Writes OUTPUT/<texture> (run folders), OUTPUT/data, OUTPUT/summary.json and OUTPUT/report.html. A demo
    that is already there is replaced; any other folder is refused.
    """
    refuse_file(output)
    with writing_to(output):
        return _run_demo(output, config, announce, on_step)


def _run_demo(
    output: Path, config: RunConfig, announce: Callable[[str], None], on_step: Callable[[Progress], None]
) -> dict[str, Any]:
    _clear(output)
    folders = write_demo_data(output / "data")
    summary, sections = {}, []
    for texture in TEXTURES:
        announce(texture)
        run = train(folders[texture], output / texture, config, on_step=on_step)
        result = evaluate(run, folders[texture], device=config.training.device)
        summary[texture] = result.metrics
        sections.append(result.section)
    with written_together():
        write_report(output / "report.html", f"cavga demo, preset {config.preset}", sections)
        atomic_write(output / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _clear(output: Path) -> None:
    """Make room for a demo, touching nothing but an earlier demo's own folders."""
    if all(is_lock(path.name) for path in output.iterdir()):
        return
    is_demo = all((output / "data" / texture).is_dir() for texture in TEXTURES)
    if not is_demo:
        raise UsageError(f"{output} holds something other than a demo: choose another --output")
    for texture in TEXTURES:
        if (output / texture / CONFIG_FILE).is_file():
            shutil.rmtree(output / texture)
    shutil.rmtree(output / "data")
    for name in ("summary.json", "report.html"):
        (output / name).unlink(missing_ok=True)
