"""Maps and scores that were made elsewhere and a data set -> the files of an evaluation."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cavga._version import __version__
from cavga.atomic_files import refuse_file
from cavga.data.catalog import load_like_run
from cavga.data.manifest import relative_to_root
from cavga.data.records import Catalog, ImageRecord
from cavga.errors import UsageError
from cavga.evaluation.evaluate import EvaluatedRun, counts_of, labelled_test_images, write_evaluation
from cavga.evaluation.map_matching import FoundMaps, external_results, find_maps, match_scores
from cavga.evaluation.measure import evaluate_results
from cavga.evaluation.place import EvaluatedData, place_of_results
from cavga.evaluation.results import Evaluation, StoredMaps, Thresholds
from cavga.evaluation.score_file import ScoreRow, read_scores
from cavga.evaluation.sections import section_of
from cavga.evaluation.written import METRICS_FILE
from cavga.inference.lines import PREDICTIONS_FILE
from cavga.output_lock import writing_to
from cavga.progress import SILENT, Progress
from cavga.regular_files import real_path
from cavga.runs.model_json import MODEL_FILE, load_description, used_images

MAXIMUM = "maximum of the map"  # where an image's score comes from if no file gives it


@dataclass(frozen=True)
class ExternalMaps:
    """A folder of maps, a file of the images' scores, and thresholds that go with them, where there are any."""

    folder: Path
    scores: Path | None = None
    image_threshold: float | None = None
    pixel_threshold: float | None = None


def evaluate_maps(
    maps: ExternalMaps,
    data: str | Path,
    output: str | Path | None = None,
    *,
    size: tuple[int, int] | None = None,
    category: str | None = None,
    without: Sequence[str | Path] = (),
    mask_cut: float | None = None,
    progress: Progress = SILENT,
) -> EvaluatedRun:
    """Evaluate maps on the labelled test images of `data`; writes what `cavga.evaluate` writes.

    Pixel metrics are at `size` (height, width), or at each photograph's own; maps are resized bilinearly, masks by
    nearest. Without scores an image's score is the maximum of its map. `output` defaults to the folder of maps.
    `without` names runs whose training and calibration images are left out. An image without a map or a score is left
    out and named in `problems`. Raises UsageError for thresholds that are not finite and an output that would overwrite
    other results, DataError for maps, scores and data that are missing, ambiguous or broken.
    """
    target = Path(maps.folder if output is None else output)
    _check(maps, target, size)
    catalog = load_like_run({}, Path(data), category=category, mask_cut=mask_cut)
    used: dict[str, str] = {}
    for run in map(Path, without):
        used |= used_images(run, load_description(run))
    records, hashes, excluded = labelled_test_images(catalog, used)
    evaluated = EvaluatedData.of(Path(data), catalog, (hashes[record] for record in records if record in hashes))
    if output is None:
        target = place_of_results(target, METRICS_FILE, evaluated)
    found = find_maps(maps.folder, records)
    rows, thresholds = _scores(maps, records, catalog)
    with writing_to(target), tempfile.TemporaryDirectory(prefix="cavga-") as folder:
        results = external_results(
            records, found.paths, rows, size=size, decide=lambda score, row: _decision(score, row, thresholds.image)
        )
        stored = StoredMaps(Path(folder), default_shape=size or (0, 0))
        evaluation = evaluate_results(
            results,
            records,
            thresholds,
            maps=stored,
            at_original_size=size is None,
            expects_masks=catalog.expects_masks,
            progress=progress,
        )
        metrics = _complete(evaluation, maps, found, excluded=excluded, without=without)
        metrics["provenance"]["evaluated"] = evaluated.as_dict()
        progress.begin("report")
        section = section_of(catalog.title, metrics, evaluation, thresholds, notes=_notes(maps, metrics))
        write_evaluation(target, metrics, evaluation, section, hashes)
    return EvaluatedRun(metrics, section, [*evaluation.problems, *section.not_drawn], target)


def _check(maps: ExternalMaps, output: Path, size: tuple[int, int] | None) -> None:
    for flag, value in (("--threshold", maps.image_threshold), ("--pixel-threshold", maps.pixel_threshold)):
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{flag} must be a finite number, got {value}")
    if size is not None and 0 in size:
        raise UsageError(f"evaluation size: expected at least 1 x 1 pixels, got {size[0]} x {size[1]}")
    refuse_file(output)
    if (output / MODEL_FILE).exists():
        raise UsageError(
            f"{output} is a run folder and holds its own results: choose another folder as output (--output)"
        )
    if maps.scores is not None and real_path(output / PREDICTIONS_FILE) == real_path(maps.scores):
        raise UsageError(f"--scores {maps.scores} would be overwritten: choose another folder as output (--output)")


def _scores(
    maps: ExternalMaps, records: Sequence[ImageRecord], catalog: Catalog
) -> tuple[dict[int, ScoreRow] | None, Thresholds]:
    """The row of each image, if there is a file of them, and the thresholds in use."""
    if maps.scores is None:
        return None, Thresholds(maps.image_threshold, maps.pixel_threshold)
    rows = match_scores(read_scores(maps.scores), records, _other_files(records, catalog))
    stated = {row.threshold for row in rows.values() if row.score is not None}
    image_threshold = maps.image_threshold
    if image_threshold is None and len(stated) == 1:
        image_threshold = stated.pop()
    return rows, Thresholds(image_threshold, maps.pixel_threshold)


def _other_files(records: Sequence[ImageRecord], catalog: Catalog) -> list[str]:
    """Every other image of the data set, and its masks: whoever scores a whole folder scores those as well."""
    tested = {record.relative_path for record in records}
    masks = [mask for record in catalog.records for mask in record.mask_paths]
    files = [relative_to_root(path, catalog.root) for path in (*masks, *catalog.orphan_masks, *catalog.skipped)]
    return [*files, *(record.relative_path for record in catalog.records if record.relative_path not in tested)]


def _decision(score: float, row: ScoreRow | None, threshold: float | None) -> bool | None:
    """What the threshold says, or else the file of scores."""
    if threshold is not None:
        return score >= threshold
    return None if row is None else row.is_anomalous


def _complete(
    evaluation: Evaluation, maps: ExternalMaps, found: FoundMaps, *, excluded: int, without: Sequence[str | Path]
) -> dict[str, Any]:
    """metrics.json: the metrics with counts and provenance; how the maps were made is not known."""
    counts = {"train": None, "train_anomalous": None, "calibration": None, **counts_of(evaluation)}
    provenance = {
        "maps": str(maps.folder),
        "scores": None if maps.scores is None else str(maps.scores),
        "image_score": MAXIMUM if maps.scores is None else "from the file of scores",
        "unused_maps": found.num_unused,
        "without": [str(run) for run in without],
        "cavga": __version__,
    }
    return {**evaluation.metrics, "counts": {**counts, "excluded": excluded}, "provenance": provenance}


def _notes(maps: ExternalMaps, metrics: dict[str, Any]) -> list[str]:
    """What a reader of the report should know of these figures."""
    notes = ["the maps were made elsewhere: which images they were learnt from is not known here"]
    if maps.scores is None:
        notes.append("an image's score is the maximum of its map, as no file of scores was given")
    if metrics["image"]["recall"] is None and metrics["image"]["false_alarm_rate"] is None:
        notes.append("no image is called good or anomalous: no threshold was given (--threshold)")
    if metrics["pixel"]["threshold"] is None:
        notes.append("there is no mask and no IoU at a threshold: none was given (--pixel-threshold)")
    return notes
