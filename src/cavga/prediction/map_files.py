"""Anomaly maps as files: TIFF as `cavga predict` writes it, and the formats that others use."""

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION

from cavga.arrays import AnomalyMap
from cavga.atomic_files import atomic_write
from cavga.errors import DataError, UsageError
from cavga.images.decode import load_image, read_bytes
from cavga.images.opening import ImageFileError
from cavga.inference.detector import AnomalyDetector
from cavga.rendering.scale import LOG_ODDS_REACH, MapScale, has_log_odds, has_natural_scale
from cavga.structured_files import Finite, StructureError, parse_array, parse_json

MAP_SUFFIXES = (".npy", ".tif", ".tiff", ".png")  # compared in lower case
CONTENT = "anomaly map"  # says in the tag ImageDescription that it is ours
TOP_GREY = 65535


def grey_scale(detector: AnomalyDetector) -> MapScale:
    """What the greys 0 to 65535 of a model's 16-bit maps stand for: 0 to twice the pixel threshold.

    A map of a classifier's log-odds has no natural 0: LOG_ODDS_REACH to both sides of the threshold.
    Raises UsageError where the threshold is not above 0 for another map.
    """
    threshold = detector.pixel_threshold
    if has_log_odds(detector):
        return MapScale(threshold, LOG_ODDS_REACH)
    if not has_natural_scale(detector):
        raise UsageError(
            f"--maps uint16: greys go from 0 to twice the model's pixel threshold, which is {threshold:g} here; "
            "use --maps float32"
        )
    return MapScale(threshold, threshold)


def greys(anomaly_map: AnomalyMap, scale: MapScale) -> NDArray[np.uint16]:
    """A map as greys, linear, clipped; from 32768 on a value is at or above the threshold."""
    # Half a grey goes up, not to the even neighbour: the threshold lies at 32767.5.
    return np.floor(scale.shares(anomaly_map) * TOP_GREY + 0.5).astype(np.uint16)


def values_of(greys: NDArray[np.uint16], scale: MapScale) -> AnomalyMap:
    """The values that greys stand for; what was clipped stays so."""
    return (scale.minimum + greys.astype(np.float64) / TOP_GREY * 2 * scale.reach).astype(np.float32)


def scale_text(scale: MapScale) -> str:
    """JSON for a file's tag ImageDescription, so that values can be had back without the model."""
    return json.dumps(
        {
            "content": CONTENT,
            "value": "minimum + grey / 65535 * (maximum - minimum), clipped",
            "minimum": scale.minimum,
            "maximum": scale.maximum,
            "threshold": scale.threshold,
        }
    )


def save_map(path: Path, anomaly_map: AnomalyMap, scale: MapScale | None) -> None:
    """Write one map as a TIFF: 16-bit greys on a scale that the file states, or raw 32-bit float values without one."""
    picture = Image.fromarray(anomaly_map if scale is None else greys(anomaly_map, scale))
    tags = {} if scale is None else {IMAGEDESCRIPTION: scale_text(scale)}
    # Not straight into the file: libtiff writes to its descriptor, and of a full disk it says "encoder error -2".
    content = io.BytesIO()
    picture.save(content, "TIFF", compression="tiff_deflate", tiffinfo=tags)
    atomic_write(path, content.getvalue())


def read_map(path: Path) -> AnomalyMap:
    """One map, H x W, higher where more anomalous: .npy of numbers, or .tif, .tiff or .png with one channel.

    Axes of length 1 are dropped. Greys of `save_map` become the values that they stand for, others stay as they are.
    Raises DataError where the file cannot be read or holds something else, or a value that is not finite.
    """
    values = _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    if values.ndim > 2:
        values = values.reshape([length for length in values.shape if length != 1])
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: expected a map of numbers, height x width, got {values.dtype} of shape "
            f"{' x '.join(map(str, values.shape)) or '()'}"
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which is said next
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise DataError(
            f"{path}: expected finite values, got {values[row, column]} at row {row}, column {column}; mend the map"
        )
    return found


def _read_array(path: Path) -> NDArray[Any]:
    try:
        return parse_array(read_bytes(path))
    except (ImageFileError, StructureError) as error:
        raise DataError(f"{path}: expected a NumPy array of numbers (.npy), this cannot be read as one") from error


def _read_picture(path: Path) -> NDArray[Any]:
    picture = load_image(read_bytes(path), path)
    if picture.mode not in ("F", "L", "I") and not picture.mode.startswith("I;16"):
        raise DataError(
            f"{path}: expected one channel of greys or floats, got a picture of mode {picture.mode}; colours are for "
            "people: write the values themselves, as .npy or float32 .tiff"
        )
    values = np.asarray(picture)
    tags = getattr(picture, "tag_v2", {})
    scale = _scale_in(str(tags.get(IMAGEDESCRIPTION, "")))
    return values if scale is None else values_of(values, scale)


class _StatedScale(msgspec.Struct):
    content: str
    minimum: Finite
    maximum: Finite
    threshold: Finite


def _scale_in(description: str) -> MapScale | None:
    """The scale that `save_map` stated, None where it is not one."""
    try:
        stated = parse_json(description, _StatedScale)
    except StructureError:
        return None
    is_ours = stated.content == CONTENT and stated.minimum < stated.maximum
    return MapScale(stated.threshold, (stated.maximum - stated.minimum) / 2) if is_ours else None
