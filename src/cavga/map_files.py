"""Anomaly maps as TIFF files: raw values, or 16-bit greys on one scale for all images of a model."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION

from cavga.detector import AnomalyDetector
from cavga.errors import UsageError
from cavga.files import atomic_writer
from cavga.map_scale import LOG_ODDS_REACH, AnomalyMap, MapScale, has_log_odds, has_natural_scale

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


def scale_text(scale: MapScale) -> str:
    """JSON for a file's tag ImageDescription, so that values can be had back without the model."""
    return json.dumps(
        {
            "content": "anomaly map",
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
    with atomic_writer(path) as file:
        picture.save(file, "TIFF", compression="tiff_deflate", tiffinfo=tags)
