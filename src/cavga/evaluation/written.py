"""What `cavga evaluate` wrote, read back to be compared: metrics, predictions and pixel_counts.npz. No torch."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cavga.atomic_files import atomic_write
from cavga.data.manifest import sha256_of
from cavga.errors import DataError
from cavga.inference.lines import PREDICTIONS_FILE, PredictionLine, damaged_line, read_predictions
from cavga.regular_files import NotRegularError, read_regular
from cavga.structured_files import StructureError, parse_arrays, parse_json

PIXEL_COUNTS_FILE = "pixel_counts.npz"


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """The counts of the images with a known mask.

    `rows` says which line of predictions.jsonl (from 0) each image is. `counts` is images x 2 (normal, anomalous
    pixels) x (edges + 1): the pixels below the first of the ascending `edges`, then those from each edge on.
    `threshold` is that of the mask, and one of the edges; None where there was none.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    edges: NDArray[np.float32]
    threshold: float | None


def save_pixel_counts(path: Path, found: PixelCounts) -> None:
    """Write the counts."""
    buffer = io.BytesIO()
    threshold = np.float32(np.nan if found.threshold is None else found.threshold)
    counts = found.counts.astype(np.int32)  # no image has 2^31 pixels
    np.savez_compressed(buffer, rows=found.rows, counts=counts, edges=found.edges, threshold=threshold)
    atomic_write(path, buffer.getvalue())


def load_pixel_counts(path: Path) -> PixelCounts:
    """Read the counts; raises DataError where the file is not one that `save_pixel_counts` wrote."""
    try:
        file = parse_arrays(read_regular(path))
        rows, counts, edges = (file[name] for name in ("rows", "counts", "edges"))
        threshold = float(file["threshold"])
        kinds = [found.dtype.kind for found in (rows, counts, edges)]
        is_ours = kinds == ["i", "i", "f"] and counts.shape == (*rows.shape, 2, len(edges) + 1)
    except (OSError, ValueError, KeyError, TypeError, NotRegularError) as error:
        raise _damaged(path) from error
    if not is_ours or (rows < 0).any():
        raise _damaged(path)
    return PixelCounts(rows, counts.astype(np.int64), edges, None if np.isnan(threshold) else threshold)


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: not the pixel counts that `cavga evaluate` writes; evaluate again")


METRICS_FILE = "metrics.json"


class _PixelMetrics(msgspec.Struct):
    resolution: Any


class _Metrics(msgspec.Struct):
    """What is read again of metrics.json."""

    pixel: _PixelMetrics


class _WrittenWith(msgspec.Struct):
    files: dict[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class EvaluatedImage:
    """One labelled image with its score; `row` is its line in predictions.jsonl, from 0."""

    row: int
    path: str
    sha256: str | None
    label: int
    score: float
    is_anomalous: bool | None


@dataclass(frozen=True, eq=False)
class WrittenEvaluation:
    """The labelled images of an evaluation, and its pixels where they are known.

    `num_unscored` images have no score or no label. `pixels` is None where `no_pixels` says why.
    """

    folder: Path
    images: tuple[EvaluatedImage, ...]
    num_unscored: int
    pixels: PixelCounts | None
    resolution: Any
    no_pixels: str


def read_evaluation(path: Path) -> WrittenEvaluation:
    """Read an evaluation's folder, or its metrics.json or predictions.jsonl; raises DataError."""
    folder = path if path.is_dir() else path.parent
    file = path if path.suffix == ".jsonl" else folder / PREDICTIONS_FILE
    if not path.exists() or not file.is_file():
        raise DataError(f"{file} does not exist: expected a folder that `cavga evaluate` wrote its results to")
    _check_that_it_is_one(folder)
    lines = list(read_predictions(file, needed=()))
    images = tuple(image for row, line in enumerate(lines) if (image := _image(line, row, file)) is not None)
    if not images:
        raise DataError(
            f"{file} holds no image with a score and a label: `cavga evaluate` writes them, predict does not"
        )
    seen: set[str] = set()
    for image in images:
        if image.path in seen:
            raise DataError(f"{file}, line {image.row + 1}: {image.path} is there twice; evaluate again")
        seen.add(image.path)
    pixels, resolution, no_pixels = _pixels(folder, len(lines))
    return WrittenEvaluation(folder, images, len(lines) - len(images), pixels, resolution, no_pixels)


def _check_that_it_is_one(folder: Path) -> None:
    """Raise DataError where a file is not the one that metrics.json was written with; earlier versions do not say."""
    try:
        hashes = parse_json(read_regular(folder / METRICS_FILE), _WrittenWith).files
    except (OSError, StructureError, NotRegularError):
        return
    for name, sha256 in hashes.items():
        if name not in (PREDICTIONS_FILE, PIXEL_COUNTS_FILE):
            continue
        if not (folder / name).is_file() or sha256_of(folder / name) != sha256:
            raise DataError(f"{folder / name} is not of the evaluation that {METRICS_FILE} is of; evaluate again")


def _image(line: PredictionLine, row: int, file: Path) -> EvaluatedImage | None:
    """The image of a line; None without a score or a label."""
    if line.score is None or line.label is None:
        return None
    if not line.path:
        raise damaged_line(file, row + 1, "with path")
    return EvaluatedImage(row, line.path, line.more.get("sha256"), line.label, line.score, line.is_anomalous)


def _pixels(folder: Path, num_lines: int) -> tuple[PixelCounts | None, Any, str]:
    """The pixel counts, at which size they are, and why there are none."""
    file = folder / PIXEL_COUNTS_FILE
    if not file.is_file():
        return None, None, f"{file} does not exist: no masks, or evaluated by an older version (evaluate again)"
    try:
        resolution = parse_json(read_regular(folder / METRICS_FILE), _Metrics).pixel.resolution
    except (OSError, StructureError, NotRegularError):
        return None, None, f"{folder / METRICS_FILE} does not say at which size the pixels were counted"
    counts = load_pixel_counts(file)
    if len(counts.rows) and int(counts.rows.max()) >= num_lines:
        raise DataError(f"{file} does not belong to the {PREDICTIONS_FILE} beside it; evaluate again")
    return counts, resolution, ""
