"""A finished run and its test images: scores and overlaps from its files, maps from its model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.experiments.index import folder_of
from cavga.benchmark.runner import TableRun
from cavga.benchmark.tables.grids import Row, place_of
from cavga.data.catalog import load_like_run
from cavga.data.records import NORMAL, ImageRecord
from cavga.errors import DataError
from cavga.evaluation.results import ScoredImage, median_image
from cavga.evaluation.written import EvaluatedImage, PixelCounts, WrittenEvaluation, read_evaluation
from cavga.images.decode import read_image
from cavga.inference.detector import AnomalyDetector
from cavga.runs.model_json import load_description


@dataclass(frozen=True)
class Overlap:
    """How the pixels that a model marks in one image overlap the defect's, at the size of its maps."""

    iou: float
    recall: float
    """Share of the defect's pixels that are marked."""
    defect_share: float
    """The defect's share of the image's pixels."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished experiment of a figure."""

    experiment: Experiment
    row: Row
    folder: Path
    images: dict[str, ScoredImage]
    """By path, those with a score, in the order of the test."""
    overlaps: dict[str, Overlap]
    """By path, those with a defect in the mask, at the model's threshold."""

    @property
    def place(self) -> str:
        return place_of(self.row)

    def detector(self) -> AnomalyDetector:
        """The model, in PyTorch: its attention is in no exported graph."""
        return AnomalyDetector.load_in_torch(self.folder)

    def with_label(self, label: int) -> list[ScoredImage]:
        return [image for image in self.images.values() if image.record.label == label]


def finished_runs(done: TableRun, figure: str, output: Path, *, data: Path, epochs: int | None) -> list[FinishedRun]:
    """The finished experiments of a figure with their test images; raises DataError where `data` lacks one."""
    return [
        _read(
            experiment,
            row,
            output / folder_of(figure, experiment.set_name, epochs) / experiment.folder,
            data / experiment.data,
        )
        for experiment, row in zip(done.experiments, done.rows, strict=True)
        if not row["error"]
    ]


def by_place(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs of each category or scene."""
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(run.place, []).append(run)
    return found


def shared_images(runs: Sequence[FinishedRun]) -> list[ScoredImage]:
    """The images that all runs were tested on, with the scores of the first."""
    return [image for path, image in runs[0].images.items() if all(path in run.images for run in runs)]


def median_of_each_type(runs: Sequence[FinishedRun]) -> list[ScoredImage]:
    """Of each type of defect the image with the median score of the first run, among those that all were tested on."""
    by_type: dict[str, list[ScoredImage]] = {}
    for image in shared_images(runs):
        if image.record.label != NORMAL:
            by_type.setdefault(image.record.defect_type or "", []).append(image)
    return [median_image(by_type[name]) for name in sorted(by_type)]


def maps_of(detector: AnomalyDetector, images: Sequence[ScoredImage]) -> Iterator[NDArray[np.float32]]:
    """The anomaly map of each image, in order."""
    for prediction in detector.predict([image.record.path for image in images]):
        yield prediction.anomaly_map


def photograph_of(record: ImageRecord, *, longer_side: int) -> NDArray[np.uint8]:
    """A photograph with its longer side at most that long."""
    photograph = read_image(record.path)
    factor = min(1.0, longer_side / max(photograph.shape[:2]))
    width, height = (max(1, round(factor * length)) for length in photograph.shape[1::-1])
    return np.array(Image.fromarray(photograph).resize((width, height), Image.Resampling.LANCZOS))


def _read(experiment: Experiment, row: Row, folder: Path, data: Path) -> FinishedRun:
    settings = load_description(folder)["config"]["data"]
    catalog = load_like_run(settings, data, category=experiment.config().data.category, mask_cut=None)
    records = {record.relative_path: record for record in catalog.split("test")}
    evaluation = read_evaluation(folder)
    lacking = [image.path for image in evaluation.images if image.path not in records]
    if lacking:
        raise DataError(f"{data} lacks {lacking[0]}, on which {folder} was tested: give the --data of that run")
    images = {image.path: _scored(image, records[image.path]) for image in evaluation.images}
    return FinishedRun(experiment, row, folder, images, _overlaps(evaluation))


def _scored(image: EvaluatedImage, record: ImageRecord) -> ScoredImage:
    return ScoredImage(record, image.score, image.is_anomalous, None)


def _overlaps(evaluation: WrittenEvaluation) -> dict[str, Overlap]:
    pixels = evaluation.pixels
    if pixels is None or pixels.threshold is None:
        return {}
    paths = {image.row: image.path for image in evaluation.images}
    return {
        paths[row]: overlap
        for row, counts in zip(pixels.rows.tolist(), pixels.counts, strict=True)
        if row in paths and (overlap := _overlap(counts, pixels)) is not None
    }


def _overlap(counts: NDArray[np.int64], pixels: PixelCounts) -> Overlap | None:
    """Exact, as the threshold is one of the edges; None without a defect."""
    first = int(np.searchsorted(pixels.edges, np.float32(pixels.threshold or 0.0))) + 1
    normal, anomalous = counts.sum(axis=1).tolist()
    false_alarms, hits = counts[:, first:].sum(axis=1).tolist()
    if not anomalous:
        return None
    return Overlap(hits / (anomalous + false_alarms), hits / anomalous, anomalous / (normal + anomalous))
