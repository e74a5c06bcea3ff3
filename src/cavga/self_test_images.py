"""Which good images a self-test makes its anomalies on."""

from collections.abc import Mapping

from cavga.data.manifest import sha256_of
from cavga.data.records import NORMAL, Catalog, ImageRecord
from cavga.errors import DataError


def good_images(catalog: Catalog, used: Mapping[str, str]) -> tuple[str, list[ImageRecord]]:
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
