"""Regions as a COCO file for annotation tools: images, and one annotation with box and outline per region."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from cavga.atomic_files import atomic_writer
from cavga.data.readers.annotations import NO_DEFECT, WRITTEN_BY_CAVGA
from cavga.images.regions import Region
from cavga.inference.lines import as_json

CATEGORY = {"id": 1, "name": "anomaly", "supercategory": "anomaly"}
BELOW_CATEGORY = {"id": 2, "name": NO_DEFECT, "supercategory": "anomaly"}
INFO = {"description": WRITTEN_BY_CAVGA}


class CocoFile:
    """A COCO file that is being written, image by image; nothing of an image is held once it is added."""

    def __init__(self, annotations: BinaryIO, images: IO[bytes]) -> None:
        self._annotations, self._images = _Items(annotations), _Items(images)

    def add(
        self, file_name: str, image_size: tuple[int, int], regions: Sequence[Region], *, is_anomalous: bool
    ) -> None:
        """An image (height, width) with its regions, which are below the image threshold where it is not anomalous.

        `is_anomalous` stands with the image too: an anomalous one without a region has no annotation to say it.
        """
        category = CATEGORY if is_anomalous else BELOW_CATEGORY
        height, width = image_size
        image_id = self._images.count + 1
        image = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        self._images.add({**image, "is_anomalous": is_anomalous})
        for region in regions:
            self._annotations.add(
                {
                    "id": self._annotations.count + 1,  # from 1: the field's tools take 0 for "none"
                    "image_id": image_id,
                    "category_id": category["id"],
                    "bbox": region.box,
                    "segmentation": [[value for corner in region.polygon for value in corner]],
                    "area": round(region.area, 2),
                    "score": region.score,
                    "iscrowd": 0,
                }
            )


@contextmanager
def coco_writer(path: Path) -> Iterator[CocoFile]:
    """A COCO file that appears at `path` when the block ends, whole or not at all."""
    # Two lists grow at once: one in the file itself, the other beside it, because a folder for
    # temporary files may lie in memory.
    with atomic_writer(path) as file, tempfile.TemporaryFile(dir=path.parent) as images:
        head = {"info": INFO, "licenses": [], "categories": [CATEGORY, BELOW_CATEGORY]}
        file.write(as_json(head)[:-1] + b',\n"annotations": [')
        yield CocoFile(file, images)
        file.write(b'],\n"images": [')
        images.seek(0)
        shutil.copyfileobj(images, file)
        file.write(b"]}\n")


def is_coco_file(path: Path) -> bool:
    """Whether there is a file that `coco_writer` wrote, by how it begins."""
    start = as_json({"info": INFO})[:-1]
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start


class _Items:
    """The items of a JSON list, one after the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.count = file, 0

    def add(self, item: dict[str, Any]) -> None:
        self.file.write((b",\n" if self.count else b"\n") + as_json(item))
        self.count += 1
