"""Anomaly maps as files: TIFF as `cavga predict` writes it, and the formats that others use."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION

from cavga.config import is_trained_on_made
from cavga.data.images import load_image, read_bytes
from cavga.detector import AnomalyDetector
from cavga.errors import DataError, UsageError
from cavga.files import atomic_writer
from cavga.presets import from_dict

AnomalyMap = NDArray[np.float32]  # H x W

MAP_SUFFIXES = (".npy", ".tif", ".tiff", ".png")  # compared in lower case
CONTENT = "anomaly map"  # says in the tag ImageDescription that it is ours
TOP_GREY = 65535
LOG_ODDS_REACH = 8.0  # of a classifier's map: 3000 to 1 for and against, and steps of 0.0002


@dataclass(frozen=True)
class GreyScale:
    """What the greys 0 to 65535 of a 16-bit map stand for: `reach` below the pixel threshold to `reach` above it."""

    threshold: float
    reach: float

    @classmethod
    def of(cls, detector: AnomalyDetector) -> "GreyScale":
        """The scale of a model, the same for all of its images: 0 to twice the pixel threshold.

        A map of a classifier's log-odds has no natural 0: LOG_ODDS_REACH to both sides of the threshold.
        Raises UsageError where the threshold is not above 0 for another map.
        """
        threshold = detector.pixel_threshold
        is_log_odds = is_trained_on_made(from_dict(detector.description["config"]).model)
        reach = LOG_ODDS_REACH if is_log_odds else threshold
        if not (math.isfinite(threshold) and reach > 0):
            raise UsageError(
                f"--maps uint16: greys go from 0 to twice the model's pixel threshold, which is {threshold:g} here; "
                "use --maps float32"
            )
        return cls(threshold, reach)

    def greys(self, anomaly_map: AnomalyMap) -> NDArray[np.uint16]:
        """A map as greys, linear, clipped; from 32768 on a value is at or above the threshold."""
        values = anomaly_map.astype(np.float64)
        values[np.isnan(values)] = np.inf  # a faulty value must not look normal
        share = (values - self.threshold + self.reach) / (2 * self.reach)
        # Half a grey goes up, not to the even neighbour: the threshold lies at 32767.5.
        return np.clip(np.floor(share * TOP_GREY + 0.5), 0, TOP_GREY).astype(np.uint16)

    def values(self, greys: NDArray[np.uint16]) -> AnomalyMap:
        """The values that greys stand for; what was clipped stays so."""
        low = self.threshold - self.reach
        return (low + greys.astype(np.float64) / TOP_GREY * 2 * self.reach).astype(np.float32)

    def description(self) -> str:
        """JSON for the file's tag ImageDescription, so that values can be had back without the model."""
        return json.dumps(
            {
                "content": CONTENT,
                "value": "minimum + grey / 65535 * (maximum - minimum), clipped",
                "minimum": self.threshold - self.reach,
                "maximum": self.threshold + self.reach,
                "threshold": self.threshold,
            }
        )


def save_map(path: Path, anomaly_map: AnomalyMap, scale: GreyScale | None) -> None:
    """Write one map as a TIFF: 16-bit greys on a scale that the file states, or raw 32-bit float values without one."""
    picture = Image.fromarray(anomaly_map if scale is None else scale.greys(anomaly_map))
    tags = {} if scale is None else {IMAGEDESCRIPTION: scale.description()}
    with atomic_writer(path) as file:
        picture.save(file, "TIFF", compression="tiff_deflate", tiffinfo=tags)


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
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
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
    return values if scale is None else scale.values(values)


def _scale_in(description: str) -> GreyScale | None:
    """The scale that `save_map` stated, None where it is not one."""
    try:
        stated = json.loads(description)
        if stated["content"] != CONTENT:
            return None
        return GreyScale(float(stated["threshold"]), (float(stated["maximum"]) - float(stated["minimum"])) / 2)
    except (ValueError, KeyError, TypeError):
        return None
