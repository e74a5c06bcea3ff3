"""Score images and folders into files: lines, table and gallery, and maps, overlays and coco.json if asked for."""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.atomic_files import NotWrittenError, atomic_writer, refuse_file
from cavga.config.schema import MAP_KINDS
from cavga.data.manifest import relative_to_root
from cavga.errors import CavgaError, UsageError, unknown_name
from cavga.images.decode import remarks_lines
from cavga.images.resize import resize_map
from cavga.images.walk import images_of, passed_over
from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import PredictionLine, prediction_line
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import FailedImage
from cavga.inference.sources import AHEAD
from cavga.output_lock import writing_to
from cavga.prediction.folder import PICTURES, PredictionFolder, prediction_folder
from cavga.prediction.gallery_page import Gallery
from cavga.prediction.map_files import grey_scale, save_map
from cavga.prediction.spreadsheet import TABLE_FILE
from cavga.progress import SILENT, Progress, counted
from cavga.regular_files import real_path
from cavga.rendering.scale import MapScale, picture_scale
from cavga.runs.model_json import MODEL_FILE

logger = logging.getLogger("cavga")

NUM_HIGHEST = 3  # photographs whose scores are said in words
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
class HighScore:
    """One of the photographs with the highest scores; the words are of its p-value."""

    score: float
    path: str
    is_anomalous: bool
    p_value_in_words: str | None


@dataclass(frozen=True)
class PredictionSummary:
    """What `predict_to_folder` did; `failed` has the first MAX_NAMED errors, those of pictures among them."""

    num_images: int
    num_anomalous: int
    num_failed: int
    failed: tuple[str, ...]
    num_without_picture: int = 0
    """Images that were scored, but of which a picture that was asked for could not be written."""
    highest: tuple["HighScore", ...] = ()
    """The photographs with the highest scores, the highest first."""
    num_below: int = 0
    """Normal photographs with a region: it is below the image threshold."""
    num_without_place: int = 0
    """Anomalous photographs without a region."""
    passed_over: tuple[str, ...] = ()
    """Files of the given folders that are not read although they may be photographs, and why, one line each."""


@dataclass(frozen=True)
class _Input:
    path: Path
    shown: str  # in predictions.jsonl: as given, or below the given folder
    file_name: (
        str  # in coco.json and in the gallery: relative to the folder that was given, or to the one above all that was
    )
    pictures: dict[str, str]  # those to write, by their field in predictions.jsonl, relative to the output folder


def check_prediction(inputs: Sequence[Path], output: Path, threshold: float | None) -> None:
    """Raise UsageError where the output would overwrite a run's files or be scored the next time."""
    target = real_path(output)
    refuse_file(output)
    if (target / MODEL_FILE).exists():
        raise UsageError(f"output {output} is a run folder and holds its own predictions: choose another folder")
    inside = [path for path in inputs if path.is_dir() and target.is_relative_to(real_path(path))]
    if inside:
        raise UsageError(f"output {output} lies inside {inside[0]}: its pictures would be scored the next time")
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"threshold must be a finite number, got {threshold}")


def predict_to_folder(
    detector: AnomalyDetector,
    inputs: Sequence[Path],
    output: Path,
    *,
    threshold: float | None = None,
    outputs: PredictionOutputs = PredictionOutputs(),
    progress: Progress = SILENT,
) -> PredictionSummary:
    """Score every image of `inputs` (files, or folders searched recursively) into `output`.

    predictions.csv says the same in a table, and gallery.html shows the highest scores with pictures.
    Results are written as they come, and memory stays flat over any number of images, but for the names of pictures
    that are written. An image that cannot be read gets a line with its error, one whose picture cannot be written a
    line with its score and the error, and the rest is done. Of an earlier prediction into `output` the lines, the
    files beside them and the pictures that they name are removed, before a new picture or the new lines appear.
    Raises DataError, before anything is written, if an input is missing or holds no image, UsageError if the model has
    no scale for the maps that are asked for, and BusyError while another command writes to `output`.
    """
    drawing = Drawing(
        detector.image_threshold if threshold is None else threshold,
        grey_scale(detector) if outputs.maps == "uint16" else None,
    )
    gallery = Gallery(detector, picture_scale(detector), drawing.cut)
    num_images = sum(1 for _ in _inputs(inputs, []))  # what is missing is found now, not after hours of scoring
    progress.begin("predicting", num_images, "images")
    folders = [given for given in inputs if given.is_dir()]
    others = tuple(f"{item.path} {item.reason}" for given in folders for item in passed_over(given))
    tally = _Tally()
    with (
        writing_to(output, below=[folder for folder, _ in PICTURES.values()]),
        prediction_folder(output, with_coco=outputs.coco) as folder,
    ):
        for image, result in counted(_results(detector, inputs, outputs), progress):
            folder.write(_write_image(image, result, drawing, folder, tally))
            if isinstance(result, Prediction):
                gallery.add(image.path, image.file_name, result)
        num_scored = tally.num_images - tally.num_failed
        folder.page.write(gallery.page(num_scored=num_scored, num_anomalous=tally.num_anomalous, table=TABLE_FILE))
    for line in remarks_lines(tally.remarks):
        logger.warning("%s", line)
    return tally.summary(others)


@dataclass(frozen=True)
class Drawing:
    """What pictures are made with: the threshold of the decision, and the scale of greys."""

    cut: float
    greys: MapScale | None


class _Tally:
    def __init__(self) -> None:
        self.num_images, self.num_anomalous, self.num_failed, self.num_without_picture = 0, 0, 0, 0
        self.num_below, self.num_without_place = 0, 0
        self.highest: list[HighScore] = []
        self.remarks: dict[str, tuple[str, ...]] = {}
        self._named: list[str] = []

    def name(self, errors: Iterable[str]) -> None:
        """Keep the first errors for the summary."""
        self._named += [error for error in errors if len(self._named) < MAX_NAMED]

    def count(self, image: "_Input", result: Prediction, cut: float) -> None:
        """What was decided of a photograph, by the threshold in use."""
        is_anomalous, has_region = result.score >= cut, bool(result.mask.any())
        self.num_anomalous += is_anomalous
        self.num_below += has_region and not is_anomalous
        self.num_without_place += is_anomalous and not has_region
        if len(self.highest) < NUM_HIGHEST or result.score > self.highest[-1].score:
            here = HighScore(result.score, image.shown, is_anomalous, result.p_value_in_words)
            self.highest = sorted([*self.highest, here], key=lambda one: -one.score)[:NUM_HIGHEST]
        if result.remarks and len(self.remarks) < MAX_NAMED:
            self.remarks[image.shown] = result.remarks

    def summary(self, others: tuple[str, ...]) -> PredictionSummary:
        return PredictionSummary(
            self.num_images, self.num_anomalous, self.num_failed, tuple(self._named), self.num_without_picture,
            tuple(self.highest), self.num_below, self.num_without_place, others,
        )  # fmt: skip


def _write_image(
    image: _Input, result: Prediction | FailedImage, drawing: Drawing, folder: PredictionFolder, tally: _Tally
) -> PredictionLine:
    """Write the pictures of one image and its part of coco.json; returns its line."""
    tally.num_images += 1
    if isinstance(result, FailedImage):
        tally.num_failed += 1
        tally.name([result.error])
        return _failed_line(image, result, drawing.cut)
    tally.count(image, result, drawing.cut)
    regions = result.regions()
    if folder.coco:
        folder.coco.add(image.file_name, result.image_size, regions, is_anomalous=result.score >= drawing.cut)
    pictures, errors = dict[str, str | None](image.pictures), []
    for field in image.pictures:
        try:
            _draw[field](image, result, drawing, folder)
        except CavgaError as error:
            if isinstance(error, NotWrittenError) and error.is_of_the_disk:
                raise
            pictures[field] = None
            errors.append(str(error))
    tally.num_without_picture += bool(errors)
    tally.name(errors)
    return result.line(image.shown, drawing.cut, regions, error="; ".join(errors) or None, **pictures)


def _draw_map(image: _Input, result: Prediction, drawing: Drawing, folder: PredictionFolder) -> None:
    save_map(folder.picture(image.pictures, "map"), resize_map(result.anomaly_map, result.image_size), drawing.greys)


def _draw_overlay(image: _Input, result: Prediction, drawing: Drawing, folder: PredictionFolder) -> None:
    picture = result.overlay(threshold=drawing.cut)
    save_picture(folder.picture(image.pictures, "overlay"), np.asarray(picture))


_draw = {"overlay": _draw_overlay, "map": _draw_map}  # by the fields of PICTURES


def _results(
    detector: AnomalyDetector, inputs: Sequence[Path], outputs: PredictionOutputs
) -> Iterator[tuple[_Input, Prediction | FailedImage]]:
    # The detector reads a few batches ahead of what it gives, and `tee` holds those.
    images, ahead = tee(_inputs(inputs, outputs.pictures))
    return zip(images, detector.results((image.path for image in ahead), ahead=AHEAD), strict=True)


def _inputs(paths: Sequence[Path], fields: Sequence[str]) -> Iterator[_Input]:
    """Every image, with the pictures of these fields: where there are any, their names are remembered."""
    names: set[str] = set()
    above = _folder_above(paths)
    for given in paths:
        for path in images_of([given]):
            stem = (path.relative_to(given) if given.is_dir() else Path(path.name)).with_suffix("").as_posix()
            name = _unique(stem, names) if fields else ""
            pictures = {field: _picture(field, name) for field in fields}
            file_name = relative_to_root(Path(os.path.normpath(path.absolute())), above)
            yield _Input(path, path.as_posix(), file_name, pictures)


def _folder_above(paths: Sequence[Path]) -> Path:
    """The folder that was given, or the deepest one above all that was; where that is none, paths stay whole."""
    folders = [Path(os.path.normpath((path if path.is_dir() else path.parent).absolute())) for path in paths]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # on several drives
        return folders[0]


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


def _failed_line(image: _Input, result: FailedImage, threshold: float) -> PredictionLine:
    more: dict[str, Any] = {"num_regions": None, "regions": None, **dict.fromkeys(image.pictures)}
    return prediction_line(image.shown, score=None, threshold=threshold, error=result.error, **more)


def save_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write height x width x 3 as a PNG."""
    with atomic_writer(path) as file:
        Image.fromarray(picture).save(file, "PNG")
