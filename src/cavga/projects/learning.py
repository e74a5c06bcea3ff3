"""Marks, versions and thresholds of a project's run, as the commands write them. No torch, no HTTP."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cavga.calibration.normal_scores import NormalScores
from cavga.calibration.stored import calibration_in_force
from cavga.calibration.thresholds import Calibration
from cavga.errors import CavgaError
from cavga.marking.marks import Said, mark_photographs, withdraw_marks
from cavga.marking.versions import use_version, versions_of
from cavga.monitoring.operating_point import set_operating_point
from cavga.projects.project import Project
from cavga.runs.marks_file import marks_in_force, read_marks
from cavga.runs.model_json import FEATURES_FILE, MARKS_KEY, load_description


def marks_of(run: Path) -> dict[str, str]:
    """sha256 -> good or bad, of what is marked now."""
    return {sha256: mark.label for sha256, mark in marks_in_force(read_marks(run)).items()}


def set_mark(project: Project, photograph: Path, sha256: str, label: str | None, type: str = "") -> None:
    """Call a photograph good or bad, in place of what it was called before; None takes the mark back."""
    run = project.needed_run()
    known = marks_of(run).get(sha256)
    if known is not None and known != label:
        withdraw_marks(run, [photograph])
    if label is not None and known != label:
        mark_photographs(run, [Said(photograph, label, type)])


def normal_scores(run: Path) -> NormalScores | None:
    """The scores of good photographs behind the threshold in force."""
    return NormalScores.of(calibration_in_force(run, load_description(run)))


def marks_taken_along(old: Path | None, new: Path) -> list[str]:
    """Marks of an earlier run, set in a later one; says of each that cannot be why."""
    problems = []
    for mark in () if old is None else marks_in_force(read_marks(old)).values():
        try:
            mark_photographs(new, [Said(Path(mark.path), mark.label, mark.type)])
        except CavgaError as error:  # trained on by now, or gone, or the new run cannot learn marks
            problems.append(str(error))
    return problems


def version_rows(run: Path) -> list[dict[str, Any]]:
    """Every version with what changed and the scores of its marks, oldest first; one row where nothing was refitted."""
    description = load_description(run)
    found = versions_of(run)
    if not found:
        now = calibration_in_force(run, description).image_threshold
        row = {"number": None, "in_use": True, "summary": "as trained", "when": None, "threshold": now}
        return [{**row, "lines": [], "marks": [], "warnings": []}]
    rows = []
    for version in found:
        about = version.about
        marks = [_mark_row(mark) for mark in about.get("marks", ())]
        rows.append({
            "number": version.number, "in_use": version.is_in_use, "summary": about.get("summary", ""),
            "when": about.get("when"), "lines": about.get("lines", []), "marks": marks,
            "warnings": about.get("warnings", []), "old": _cut(about.get("old")), "new": _cut(about.get("new")),
            "threshold": calibration_in_force(version.folder, load_description(version.folder)).image_threshold,
        })  # fmt: skip
    if not any(row["in_use"] for row in rows):  # its thresholds were set since: by what its marks were
        number = description.get(MARKS_KEY, {}).get("version", rows[0]["number"])
        rows = [{**row, "in_use": row["number"] == number} for row in rows]
    return rows


def _mark_row(mark: Mapping[str, Any]) -> dict[str, Any]:
    return {**mark, "path": None, "name": Path(mark["path"]).name}


def _cut(calibration: Mapping[str, Any] | None) -> float | None:
    return None if calibration is None else calibration.get("image_threshold")


def go_to(project: Project, number: str) -> None:
    """Use another version."""
    use_version(project.needed_run(), number)


def set_rate(project: Project, *, false_alarm_rate: float | None, threshold: float | None) -> list[str]:
    """Set the operating point; returns what can be trusted of it, in words."""
    done = set_operating_point(project.needed_run(), false_alarm_rate=false_alarm_rate, threshold=threshold)
    return done.new.guarantees()


def model_facts(run: Path) -> dict[str, Any]:
    """What a person may want to know of a run's version in use."""
    description = load_description(run)
    now = calibration_in_force(run, description)
    origin = description["provenance"]
    return {
        "run": run.name,
        "variant": description["variant"],
        "encoder": origin.get("encoder"),
        "num_train": origin.get("train"),
        "left_out": [*origin.get("left_out", ()), *origin.get("dropped", ())],
        "training_seconds": origin.get("training_seconds"),
        "can_refit": (run / FEATURES_FILE).is_file(),
        "has_thresholds_of_its_own": now == Calibration.from_dict(description["calibration"]),
        "calibration": _public(now),
        "guarantees": now.guarantees(),
    }


def _public(calibration: Calibration) -> dict[str, Any]:
    return {key: value for key, value in asdict(calibration).items() if key != "peaks"}


def described(error: CavgaError, project: Project) -> str:
    """An error's message without the place of the projects folder."""
    return str(error).replace(f"{project.root}/", "")
