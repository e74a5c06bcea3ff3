"""Anomaly maps as TIFF files: raw values, or 16-bit greys on one scale for all images of a model."""

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION

from cavga.config import MAP_KINDS
from cavga.errors import UsageError, unknown_name
from cavga.files import atomic_writer

AnomalyMap = NDArray[np.float32]  # H x W

TOP_GREY = 65535


def check_map_kind(kind: str, threshold: float) -> None:
    """Raise UsageError for a kind not in MAP_KINDS, or one that the model's pixel threshold gives no scale for."""
    if kind not in MAP_KINDS:
        raise unknown_name("kind of maps", kind, MAP_KINDS)
    if kind == "uint16" and not 0 < threshold < math.inf:
        raise UsageError(
            f"--maps uint16 goes from 0 to twice the model's pixel threshold, which is {threshold:g} here: "
            "use --maps float32, which has no scale"
        )


def save_map(path: Path, anomaly_map: AnomalyMap, kind: str, threshold: float) -> None:
    """Write one map as a TIFF of the kind "float32", raw values, or "uint16", on the scale from `threshold`.

    The scale of a "uint16" file stands in its tag ImageDescription, as JSON.
    """
    if kind == "uint16":
        picture, tags = Image.fromarray(grey_map(anomaly_map, threshold)), {IMAGEDESCRIPTION: _description(threshold)}
    else:
        picture, tags = Image.fromarray(anomaly_map), {}
    with atomic_writer(path) as file:
        picture.save(file, "TIFF", compression="tiff_deflate", tiffinfo=tags)


def grey_map(anomaly_map: AnomalyMap, threshold: float) -> NDArray[np.uint16]:
    """0 to twice the threshold as 0 to 65535, linear, clipped; from 32768 on a value is at or above the threshold."""
    values = anomaly_map.astype(np.float64)
    values[np.isnan(values)] = np.inf  # a faulty value must not look normal
    greys = np.floor(values / (2 * threshold) * TOP_GREY + 0.5)  # not to the even one: half of 65535 is the threshold
    return np.clip(greys, 0, TOP_GREY).astype(np.uint16)


def _description(threshold: float) -> str:
    return json.dumps(
        {
            "content": "anomaly map",
            "value": "maximum * grey / 65535, clipped to 0 and maximum",
            "maximum": 2 * threshold,
            "threshold": threshold,
        }
    )
