"""Score images and folders into files: predictions.jsonl, and maps, overlays and coco.json if asked for."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.atomic_files import atomic_writer, refuse_file
from cavga.config.schema import MAP_KINDS
from cavga.errors import UsageError, unknown_name
from cavga.images.decode import read_image, remarks_lines
from cavga.images.regions import MAX_REGIONS, Region, count_regions
from cavga.images.resize import resize_map
from cavga.images.walk import images_of
from cavga.inference.detector import AnomalyDetector, Prediction
from cavga.inference.prepare import FailedImage
from cavga.prediction.folder import PICTURES, prediction_folder
from cavga.prediction.lines import PredictionLine, jsonl, prediction_line, region_line
from cavga.prediction.map_files import grey_scale, save_map
from cavga.prediction.overlays import captioned_overlay
from cavga.rendering.scale import picture_scale
from cavga.runs.model_json import MODEL_FILE

logger = logging.getLogger("cavga")

MAX_NAMED = 1000  # images that could not be read and are named in the summary; predictions.jsonl names all


@dataclass(frozen=True)
class PredictionOutputs:
    """What `predict_to_folder` writes beside predictions.jsonl; `maps` is one of MAP_KINDS or None."""

    maps: str | None = None
    overlays: bool = False
    coco: bool = False

    def __post_init__(self) -> None:
        if self.maps is not None and self.maps not in MAP_KINDS:
            raise unknown_name("kind of maps", self.maps, MAP_KINDS)

    @property
    def pictures(self) -> list[str]:
        """The fields of a line that name the files written for each image."""
        return ["overlay"] * self.overlays + ["map"] * (self.maps is not None)


@dataclass(frozen=True)
class PredictionSummary:
    """What `predict_to_folder` did; `failed` has the first MAX_NAMED errors."""

    num_images: int
    num_anomalous: int
    num_failed: int
    failed: tuple[str, ...]


@dataclass(frozen=True)
class _Input:
    path: Path
    shown: str  # in predictions.jsonl: as given, or below the given folder
    pictures: dict[str, str]  # those to write, by their field in predictions.jsonl, relative to the output folder


def check_prediction(inputs: Sequence[Path], output: Path, threshold: float | None) -> None:
    """Raise UsageError where the output would overwrite a run's files or be scored the next time."""
    target = output.resolve()
    refuse_file(output)
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
    outputs: PredictionOutputs = PredictionOutputs(),
) -> PredictionSummary:
    """Score every image of `inputs` (files, or folders searched recursively) into `output`.

    Results are written as they come, and memory stays flat over any number of images, but for the names of pictures
    that are written. An image that cannot be read gets a line with its error, and the rest is done. Of an earlier
    prediction into `output` the lines, the pictures that they name and coco.json are removed, before a new picture or
    the new lines appear. Raises DataError, before anything is written, if an input is missing or holds no image, and
    UsageError if the model has no scale for the maps that are asked for.
    """
    scale = grey_scale(detector) if outputs.maps == "uint16" else None
    for _ in _inputs(inputs, []):
        pass  # what is missing is found now, not after hours of scoring
    drawn = picture_scale(detector) if outputs.overlays else None
    cut = detector.image_threshold if threshold is None else threshold
    num_images, num_anomalous, num_failed, failed = 0, 0, 0, list[str]()
    remarks: dict[str, tuple[str, ...]] = {}
    with prediction_folder(output, with_coco=outputs.coco) as folder:
        for image, result in _results(detector, inputs, outputs):
            num_images += 1
            if isinstance(result, FailedImage):
                num_failed += 1
                failed += [result.error] if num_failed <= MAX_NAMED else []
                folder.lines.write(jsonl([_failed_line(image, result, cut).as_dict()]))
                continue
            num_anomalous += result.score >= cut
            remarks |= {image.shown: result.remarks} if result.remarks and len(remarks) < MAX_NAMED else {}
            regions = result.regions()
            folder.lines.write(jsonl([_line(image, result, cut, regions).as_dict()]))
            if folder.coco:
                folder.coco.add(image.shown, result.image_size, regions)
            if outputs.maps:
                anomaly_map = resize_map(result.anomaly_map, result.image_size)
                save_map(folder.picture(image.pictures, "map"), anomaly_map, scale)
            if drawn:
                roi = None if detector.tiling.roi is None else detector.tiling.roi.marked(result.image_size)
                picture = captioned_overlay(
                    read_image(image.path, detector.tiling.pixel_range), result, cut, drawn, roi
                )
                save_picture(folder.picture(image.pictures, "overlay"), picture)
    for line in remarks_lines(remarks):
        logger.warning("%s", line)
    return PredictionSummary(num_images, num_anomalous, num_failed, tuple(failed))


def _results(
    detector: AnomalyDetector, inputs: Sequence[Path], outputs: PredictionOutputs
) -> Iterator[tuple[_Input, Prediction | FailedImage]]:
    # The detector reads a few batches ahead of what it gives, and `tee` holds those.
    images, ahead = tee(_inputs(inputs, outputs.pictures))
    return zip(images, detector.results(image.path for image in ahead), strict=True)


def _inputs(paths: Sequence[Path], fields: Sequence[str]) -> Iterator[_Input]:
    """Every image, with the pictures of these fields: where there are any, their names are remembered."""
    names: set[str] = set()
    for given in paths:
        for path in images_of([given]):
            stem = (path.relative_to(given) if given.is_dir() else Path(path.name)).with_suffix("").as_posix()
            name = _unique(stem, names) if fields else ""
            yield _Input(path, path.as_posix(), {field: _picture(field, name) for field in fields})


def _unique(stem: str, names: set[str]) -> str:
    """A name that is not in `names` yet, so that two inputs of one name do not overwrite each other's pictures."""
    name, count = stem, 1
    while name.lower() in names:
        count += 1
        name = f"{stem}-{count}"
    names.add(name.lower())
    return name


def _picture(field: str, name: str) -> str:
    subfolder, suffix = PICTURES[field]
    return f"{subfolder}/{name}{suffix}"


def _line(image: _Input, result: Prediction, threshold: float, regions: list[Region]) -> PredictionLine:
    count = len(regions) if len(regions) < MAX_REGIONS else count_regions(result.mask)
    described = [region_line(region) for region in regions]
    more: dict[str, Any] = {"num_regions": count, "regions": described, **image.pictures}
    more |= {"remarks": list(result.remarks)} if result.remarks else {}
    return prediction_line(
        image.shown, score=result.score, threshold=threshold, milliseconds=result.milliseconds, **more
    )


def _failed_line(image: _Input, result: FailedImage, threshold: float) -> PredictionLine:
    more: dict[str, Any] = {"num_regions": None, "regions": None, **dict.fromkeys(image.pictures)}
    return prediction_line(image.shown, score=None, threshold=threshold, error=result.error, **more)


def save_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write height x width x 3 as a PNG."""
    with atomic_writer(path) as file:
        Image.fromarray(picture).save(file, "PNG")
