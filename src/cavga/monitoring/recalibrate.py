"""New thresholds for a trained model, from photographs of good parts as they look now. No torch."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cavga._version import __version__
from cavga.arrays import AnomalyMap, Array
from cavga.calibration.rules import GIVEN, RULES, num_needed
from cavga.calibration.stored import (
    StoredCalibration,
    calibration_in_force,
    calibration_path,
    save_thresholds,
    writing_thresholds,
)
from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import CalibrationConfig
from cavga.data.copies import PhotographFacts, read_once, units_of_copies
from cavga.data.manifest import sha256_of
from cavga.data.readers.labelled import find_labelled
from cavga.errors import DataError, ModelFileError, UsageError
from cavga.images.decode import BATCH_SIZE
from cavga.images.prefetch import prefetch
from cavga.images.tiling import Tiling
from cavga.images.walk import images_of
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import FailedImage
from cavga.inference.sources import AHEAD
from cavga.progress import SILENT, Progress, counted
from cavga.regular_files import real_path
from cavga.runs.model_json import MANIFEST_FILE, used_images

MIN_PHOTOGRAPHS = 2

_ScoreAndPeak = tuple[float, AnomalyMap]


@dataclass(frozen=True, repr=False)
class CalibratedModel:
    """What `calibrate_model` did."""

    old: Calibration
    new: Calibration
    num_predicted_anomalous_before: int
    """How many of the good photographs were predicted anomalous at the old thresholds."""
    num_trained_on: int | None
    """Photographs left out because the model was trained on them; None if it is not known what it was trained on."""
    num_copies: int
    """Photographs left out because they are copies of others, or nearly so."""
    failed: tuple[str, ...]
    """Photographs that cannot be read, and why."""
    path: Path

    def __repr__(self) -> str:
        return f"CalibratedModel({self.new.changes_from(self.old)}; {self.new.num_images} photographs; {self.path})"


def calibrate_model(
    model: str | Path,
    photographs: Sequence[Path],
    *,
    false_alarm_rate: float | None = None,
    mask_false_alarm_rate: float | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> CalibratedModel:
    """Set a model's thresholds by good photographs (files and folders) and write them beside it.

    Rates default to those of the thresholds in force. Raises UsageError for a model with the paper's fixed cuts,
    DataError if fewer than two photographs can be used.
    """
    where, paths = Path(model), list(_good_images(photographs))
    rates = {"false_alarm_rate": false_alarm_rate, "mask_false_alarm_rate": mask_false_alarm_rate}
    with writing_thresholds(where):
        return _calibrate(
            where, paths, {name: rate for name, rate in rates.items() if rate is not None}, device, progress
        )


def _calibrate(
    where: Path, paths: Sequence[Path], rates: Mapping[str, float], device: str, progress: Progress
) -> CalibratedModel:
    detector = AnomalyDetector.load_as_trained(where, device=device)
    old = calibration_in_force(where, detector.description)
    rule = rule_of_scores(where, old, detector.description)
    config = _settings(old, {**rates, "threshold_rule": rule})
    good = _Photographs(_trained_on(where, detector.description))
    progress.begin("scoring", len(paths), "photographs")
    photographs = good.pixels(counted(paths, progress), detector.tiling)
    found = list(map(_peak, detector.results(photographs, ahead=AHEAD)))
    good.failed += [result.error for result in found if isinstance(result, FailedImage)]
    results, hashes = good.first_of_each(found)
    if len(results) < MIN_PHOTOGRAPHS:
        raise DataError(_too_few(len(results), len(paths), good, config))
    new = calibrate(results, config, image_score=old.image_score)
    scores = np.array([score for score, _ in results], dtype=np.float32)
    num_predicted_anomalous = int((scores >= old.image_threshold).sum())
    path = save_thresholds(
        where,
        StoredCalibration(
            calibration=new,
            weights_sha256=detector.description["weights_sha256"],
            photographs=_describe(paths, hashes),
            replaces={"image_threshold": old.image_threshold, "pixel_threshold": old.pixel_threshold},
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            cavga=__version__,
        ),
    )
    return CalibratedModel(
        old, new, num_predicted_anomalous, good.num_trained_on, good.num_copies, tuple(good.failed), path
    )


def reset(model: str | Path) -> Path | None:
    """Go back to the model's own thresholds; returns the file that was removed, None if there was none."""
    if not Path(model).exists():
        raise ModelFileError(f"{model}: no such model")
    path = calibration_path(Path(model))
    if not path.is_file():
        return None
    with writing_thresholds(Path(model)):
        path.unlink()
    return path


def _good_images(photographs: Sequence[Path]) -> Iterator[Path]:
    """The images of files and folders; raises DataError for a folder that has others than good ones by name."""
    for path in photographs:
        if find_labelled(path) is not None:
            raise DataError(f"{path}: has bad images or masks beside good ones; give the folder of good ones alone")
        yield from images_of([path])


def _peak(result: Prediction | FailedImage) -> _ScoreAndPeak | FailedImage:
    """Score and the map's peak, and not all the maps."""
    return result if isinstance(result, FailedImage) else (result.score, result.anomaly_map.max(keepdims=True))


class _Photographs:
    """The photographs that a model has not seen, each once, and what became of the others."""

    def __init__(self, trained_on: set[str] | None) -> None:
        self.trained_on = trained_on or set()
        self.num_trained_on = None if trained_on is None else 0
        self.num_copies = 0
        self.failed: list[str] = []
        self.used: dict[str, PhotographFacts] = {}
        """By sha256, in their order."""

    def pixels(self, paths: Iterable[Path], tiling: Tiling) -> Iterator[Array]:
        """Those of the photographs that count, read in threads and remembered in `used`."""

        def read(path: Path) -> tuple[Array, PhotographFacts] | str:
            try:
                pixels, facts = read_once(path, tiling.pixel_range)
                tiling.check_fit(facts.size, str(path))
            except DataError as error:
                return str(error)
            return pixels, facts

        for item in prefetch(paths, read, most=1 if tiling.tile else BATCH_SIZE):
            if isinstance(item, str):
                self.failed.append(item)
            elif item[1].sha256 in self.used:
                self.num_copies += 1
            elif item[1].sha256 in self.trained_on:
                self.num_trained_on = (self.num_trained_on or 0) + 1
            else:
                self.used[item[1].sha256] = item[1]
                yield item[0]

    def first_of_each(self, results: Sequence[_ScoreAndPeak | FailedImage]) -> tuple[list[_ScoreAndPeak], list[str]]:
        """Score and peak of the first photograph of each unit of near-copies, and their hashes."""
        pairs = zip(self.used, results, strict=True)
        scored = {sha256: result for sha256, result in pairs if not isinstance(result, FailedImage)}
        units = units_of_copies(list(scored), [self.used[sha256].thumbnail for sha256 in scored])
        firsts = dict(reversed(list(zip(units, scored, strict=True))))
        self.num_copies += len(scored) - len(firsts)
        hashes = [sha256 for sha256 in scored if sha256 in set(firsts.values())]
        return [scored[sha256] for sha256 in hashes], hashes


def _trained_on(model: Path, description: Mapping[str, Any]) -> set[str] | None:
    """The sha256 of the images that the model learnt from: its scores of them are too low."""
    run = model if model.is_dir() else model.parent  # an exported file may lie in its run's folder, or in any other
    manifest = run / MANIFEST_FILE
    if not manifest.is_file():
        return None
    if model.is_file() and sha256_of(manifest) != description["provenance"]["manifest_sha256"]:
        return None
    return {sha256 for sha256, split in used_images(run, description).items() if split == "train"}


def rule_of_scores(model: Path, in_force: Calibration, description: Mapping[str, Any]) -> str:
    """The rule by which scores set the thresholds of a model, also where one is in force that was given by hand.

    Raises UsageError for a model whose rule no scores follow.
    """
    own = description["calibration"]["threshold_rule"]
    names = [name for name in (in_force.threshold_rule, own) if name != GIVEN]
    name = names[0] if names else "conformal"  # exported with a threshold given by hand
    if not RULES[name].follows_scores:
        raise UsageError(
            f"{model} has the paper's fixed cuts (threshold_rule {name}, preset paper): photographs do "
            "not set them; train with threshold_rule (--threshold-rule) conformal for thresholds that can be calibrated"
        )
    return name


def _settings(old: Calibration, changed: Mapping[str, Any]) -> CalibrationConfig:
    before = {item.name: getattr(old, item.name) for item in fields(CalibrationConfig)}
    return CalibrationConfig(**{**before, **changed})


def _too_few(num_usable: int, num_given: int, good: _Photographs, config: CalibrationConfig) -> str:
    reasons = [f"{len(good.failed)} cannot be read"] if good.failed else []
    reasons += [f"the model was trained on {good.num_trained_on}"] if good.num_trained_on else []
    reasons += [f"{good.num_copies} are copies of others"] if good.num_copies else []
    why = f" ({', '.join(reasons)})" if reasons else ""
    first = f"; the first: {good.failed[0]}" if good.failed else ""
    return (
        f"{num_usable} of {num_given} photographs can be used{why}: expected at least {MIN_PHOTOGRAPHS}, and "
        f"{num_needed(config.false_alarm_rate)} to promise a false alarm rate of {config.false_alarm_rate}{first}"
    )


def _describe(paths: Sequence[Path], hashes: Sequence[str]) -> dict[str, Any]:
    """Which photographs set the thresholds."""
    folder = Path(os.path.commonpath([real_path(path).parent for path in paths]))
    in_order = sorted(hashes)
    return {
        "count": len(in_order),
        "folder": folder.name,
        "sha256": hashlib.sha256("".join(in_order).encode()).hexdigest(),
        "sha256s": in_order,
    }
