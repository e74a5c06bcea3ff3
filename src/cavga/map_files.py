"""Anomaly maps as TIFF files: raw values, or 16-bit greys on one scale for all images of a model."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION

from cavga.config import is_trained_on_made
from cavga.detector import AnomalyDetector
from cavga.errors import UsageError
from cavga.files import atomic_writer
from cavga.presets import from_dict

AnomalyMap = NDArray[np.float32]  # H x W

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

    def description(self) -> str:
        """JSON for the file's tag ImageDescription, so that values can be had back without the model."""
        return json.dumps(
            {
                "content": "anomaly map",
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
