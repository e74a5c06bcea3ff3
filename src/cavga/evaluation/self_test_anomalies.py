"""Which good images a self-test makes its anomalies on, and what is made."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cavga.data.manifest import sha256_of
from cavga.data.records import NORMAL, Catalog, ImageRecord
from cavga.errors import DataError
from cavga.images.tiling import Tiling
from cavga.synthetic.controlled import synthesise_controlled_anomaly


def normal_images(catalog: Catalog, used: Mapping[str, str]) -> tuple[str, list[ImageRecord]]:
    """Where a self-test's good images come from, and those images."""
    normal = [record for record in catalog.records if record.label == NORMAL and record.path.is_file()]
    part = {record.path: used.get(sha256_of(record.path)) for record in normal}
    num_held = sum(split == "calibration" for split in used.values())
    found = {
        "test": [record for record in normal if record.split == "test" and part[record.path] is None],
        "calibration": [record for record in normal if part[record.path] == "calibration"],
        "unseen": [record for record in normal if catalog.layout == "folder" and part[record.path] is None],
        "train": [] if num_held else [record for record in normal if part[record.path] == "train"],
    }
    for source, records in found.items():
        if records:
            return source, records
    known = f"the {num_held} images that set its thresholds" if num_held else "the images it was trained on"
    raise DataError(
        f"{catalog.root} holds no good images to make anomalies on: no good test images, and none of {known}; "
        "add test/good, or give a folder of other good photographs"
    )


@dataclass(frozen=True)
class Anomaly:
    """What is to be made; `key` seeds it, so that it can be made again."""

    anomaly_type: str
    size: float
    contrast: float
    key: tuple[int, ...]

    def put_on(
        self, photograph: NDArray[np.uint8], tiling: Tiling
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        """The photograph with the anomaly where it counts, and its mask; None if nothing would show."""

        def make(part: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
            rng = np.random.default_rng(self.key)
            return synthesise_controlled_anomaly(
                part, self.anomaly_type, size=self.size, contrast=self.contrast, rng=rng
            )

        return make(photograph) if tiling.roi is None else tiling.roi.changed(photograph, make)
