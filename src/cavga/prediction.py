"""Score images and folders into files: predictions.jsonl, and maps and overlays if asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cavga.data.images import read_image
from cavga.detector import AnomalyDetector, FailedImage, Prediction, images_of
from cavga.errors import UsageError
from cavga.evaluation import jsonl, prediction_line
from cavga.files import atomic_write
from cavga.model_file import MODEL_FILE
from cavga.pictures import overlay, resize_map


@dataclass(frozen=True)
class PredictionSummary:
    """What `predict_to_folder` did."""

    num_images: int
    num_anomalous: int
    failed: tuple[str, ...]


@dataclass(frozen=True)
class _Input:
    path: Path
    shown: str  # in predictions.jsonl: as given, or below the given folder
    name: str  # of the pictures, below DIR/maps and DIR/overlays, without suffix


def check_prediction(inputs: Sequence[Path], output: Path, threshold: float | None) -> None:
    """Raise UsageError where the output would overwrite a run's files or be scored the next time."""
    target = output.resolve()
    if target.is_file():
        raise UsageError(f"--output {output} is a file: expected a folder")
    if (target / MODEL_FILE).exists():
        raise UsageError(f"--output {output} is a run folder and holds its own predictions: choose another folder")
    inside = [path for path in inputs if path.is_dir() and target.is_relative_to(path.resolve())]
    if inside:
        raise UsageError(f"--output {output} lies inside {inside[0]}: its pictures would be scored the next time")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold must be a finite number, got {threshold}")


def predict_to_folder(
    detector: AnomalyDetector,
    inputs: Sequence[Path],
    output: Path,
    *,
    threshold: float | None = None,
    with_maps: bool = False,
    with_overlays: bool = False,
) -> PredictionSummary:
    """Score every image of `inputs` (files, or folders searched recursively) into `output`.

    Maps are 32-bit float TIFF files of raw values at the photograph's size. An image that cannot be
    read gets a line with its error, and the rest is done. Raises DataError if there is no image at all.
    """
    images = list(_inputs(inputs))
    cut = detector.image_threshold if threshold is None else threshold
    lines: list[dict[str, Any]] = []
    for image, result in zip(images, detector.results(image.path for image in images), strict=True):
        if isinstance(result, FailedImage):
            lines.append(_failed_line(image, result, cut))
            continue
        lines.append(
            prediction_line(
                image.shown,
                score=result.score,
                threshold=cut,
                label=None,
                error=None,
                milliseconds=result.milliseconds,
            )
        )
        if with_maps:
            _save_map(output / "maps" / f"{image.name}.tiff", result)
        if with_overlays:
            _save_overlay(output / "overlays" / f"{image.name}.png", image.path, result, detector.pixel_threshold)
    atomic_write(output / "predictions.jsonl", jsonl(lines))
    failed = tuple(line["error"] for line in lines if line["error"])
    return PredictionSummary(len(lines), sum(bool(line["is_anomalous"]) for line in lines), failed)


def _inputs(paths: Sequence[Path]) -> Iterator[_Input]:
    names: set[str] = set()
    for given in paths:
        for path in images_of([given]):
            stem = (path.relative_to(given) if given.is_dir() else Path(path.name)).with_suffix("").as_posix()
            name, count = stem, 1
            while name.lower() in names:  # two inputs of one name must not overwrite each other's pictures
                count += 1
                name = f"{stem}-{count}"
            names.add(name.lower())
            yield _Input(path, path.as_posix(), name)


def _failed_line(image: _Input, result: FailedImage, threshold: float) -> dict[str, Any]:
    return prediction_line(
        image.shown, score=None, threshold=threshold, label=None, error=result.error, milliseconds=None
    )


def _save_map(path: Path, result: Prediction) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(resize_map(result.anomaly_map, result.image_size)).save(path, compression="tiff_deflate")


def _save_overlay(path: Path, photograph: Path, result: Prediction, threshold: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = overlay(read_image(photograph), np.asarray(result.anomaly_map), threshold)
    Image.fromarray(picture).save(path)
