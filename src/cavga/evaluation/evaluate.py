"""A detector and a data set -> metrics.json, predictions.jsonl, pixel_counts.npz, report.html."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cavga.atomic_files import atomic_write, refuse_file, written_together
from cavga.calibration.stored import calibrated_on
from cavga.calibration.thresholds import KEPT
from cavga.config.variant import VARIANTS
from cavga.data.catalog import load_like_run
from cavga.data.check import log_findings
from cavga.data.manifest import sha256_of
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, ImageRecord
from cavga.errors import DataError, UsageError
from cavga.evaluation.measure import evaluate_records
from cavga.evaluation.place import EvaluatedData, place_of_results
from cavga.evaluation.report import Section, write_report
from cavga.evaluation.results import Evaluation, ScoredImage, has_known_mask
from cavga.evaluation.sections import ClassAttentionOf, make_section
from cavga.evaluation.written import METRICS_FILE, PIXEL_COUNTS_FILE, PixelCounts, save_pixel_counts
from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import PREDICTIONS_FILE, PredictionLine, jsonl, prediction_line
from cavga.inference.torch_engine import TorchEngine
from cavga.output_lock import writing_to
from cavga.progress import SILENT, Progress
from cavga.runs.model_json import load_description, used_images


@dataclass(frozen=True, eq=False, repr=False)
class EvaluatedRun:
    """What `evaluate` found: the content of metrics.json, the report's section, files left out, where all of it is."""

    metrics: dict[str, Any]
    section: Section
    problems: list[str]
    folder: Path

    def __repr__(self) -> str:
        counts = self.metrics["counts"]
        parts = [f"{counts['test_normal']} good and {counts['test_anomalous']} bad photographs"]
        for level in ("image", "pixel"):
            auroc = self.metrics[level].get("auroc")
            parts += [] if auroc is None else [f"{level} AUROC {auroc:.3f}"]
        parts += [f"{len(self.problems)} left out"] if self.problems else []
        return f"EvaluatedRun({self.section.title}: {', '.join(parts)}; {self.folder})"


def evaluate(
    run: str | Path,
    data: str | Path,
    output: str | Path | None = None,
    *,
    category: str | None = None,
    without: str | Path | Sequence[str | Path] = (),
    mask_cut: float | None = None,
    at_original_size: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> EvaluatedRun:
    """Evaluate a run on the labelled test images of `data`; writes metrics.json, predictions.jsonl, report.html.

    With masks it writes pixel_counts.npz too, for `cavga.evaluation.compare`.

    Images that the run, or one of the runs in `without`, was trained or calibrated on are left out, by
    content; an exported file knows only which ones set its thresholds later. `output` is the run folder by default, or
    RUN/evaluations/NAME where the run folder has an evaluation of other data: that one stays. `category` may be the
    normal class of a set of classes; that and `mask_cut` default to the run's. Raises DataError if no labelled test
    image is left.
    """
    if output is not None:
        refuse_file(Path(output))
    if output is None and Path(run).is_file():
        raise UsageError(f"{run} is a file: say with output (--output) which folder the results go to")
    model = Path(run)
    detector = AnomalyDetector.load(model, device=device)
    used = used_images(model, detector.description) if model.is_dir() else {}
    used |= dict.fromkeys(calibrated_on(detector.description), "calibration")
    others = [without] if isinstance(without, str | Path) else without
    for other in map(Path, others):
        used |= used_images(other, load_description(other))
    settings = detector.description["config"]["data"]
    catalog = load_like_run(settings, Path(data), category=category, mask_cut=mask_cut)
    log_findings(catalog, "test")
    return evaluate_detector(
        detector,
        catalog,
        Path(run if output is None else output),
        used=used,
        without=[str(other) for other in others],
        at_original_size=at_original_size,
        class_attention=_class_attention_of(model, detector),
        data=Path(data) if output is None else None,
        progress=progress,
    )


def evaluate_detector(
    detector: AnomalyDetector,
    catalog: Catalog,
    output: Path,
    *,
    used: Mapping[str, str],
    without: Sequence[str] = (),
    at_original_size: bool = False,
    class_attention: ClassAttentionOf | None = None,
    data: Path | None = None,
    progress: Progress = SILENT,
) -> EvaluatedRun:
    """As `evaluate`, for a detector and a catalog that are already there.

    `used` maps the sha256 of images to leave out. `without` names the other runs
    whose images are among those, for metrics.json. With `data`, from where the catalog was read, an evaluation of other
    data that is in `output` stays.
    """
    refuse_file(output)
    records, hashes, excluded = labelled_test_images(catalog, used)
    evaluated = EvaluatedData.of(
        data or catalog.root, catalog, (hashes[record] for record in records if record in hashes)
    )
    if data is not None:
        output = place_of_results(output, METRICS_FILE, evaluated)
    with writing_to(output), (folder := tempfile.TemporaryDirectory(prefix="cavga-")):
        evaluation = evaluate_records(
            detector,
            records,
            folder=folder,
            at_original_size=at_original_size,
            expects_masks=catalog.expects_masks,
            progress=progress,
        )
        metrics = _complete(evaluation, detector, excluded=excluded)
        metrics["provenance"] |= {"without": list(without), "evaluated": evaluated.as_dict()}
        progress.begin("report")
        section = make_section(catalog.title, metrics, evaluation, detector, class_attention)
        write_evaluation(output, metrics, evaluation, section, hashes)
    return EvaluatedRun(metrics, section, [*evaluation.problems, *section.not_drawn], output)


def labelled_test_images(
    catalog: Catalog, used: Mapping[str, str]
) -> tuple[list[ImageRecord], dict[ImageRecord, str], int]:
    """The labelled test images without those whose sha256 is in `used`, all their sha256, how many were left out.

    What is no file has no sha256. Raises DataError if none is left.
    """
    labelled = [record for record in catalog.split("test") if record.label is not None]
    hashes = {record: sha256_of(record.path) for record in labelled if record.path.is_file()}
    records = [record for record in labelled if hashes.get(record) not in used]
    if not records:
        raise DataError(
            f"{catalog.root} holds no labelled test images that were not trained on: expected them in "
            "test/good and test/<defect>, or split test in a manifest"
        )
    return records, hashes, len(labelled) - len(records)


def write_evaluation(
    output: Path,
    metrics: Mapping[str, Any],
    evaluation: Evaluation,
    section: Section,
    hashes: Mapping[ImageRecord, str],
) -> None:
    """Write predictions.jsonl, report.html, pixel_counts.npz if there is an anomalous pixel, and metrics.json.

    They appear together, metrics.json last. It says the sha256 of the others too.
    """
    threshold = metrics["image"]["threshold"]
    with written_together() as together:
        lines = (_line(image, threshold, hashes).as_dict() for image in evaluation.images)
        atomic_write(output / PREDICTIONS_FILE, jsonl(lines))
        counts = evaluation.pixel_counts.by_bin()
        if len(counts):
            rows = np.flatnonzero([has_known_mask(image) for image in evaluation.images])
            edges, cut = evaluation.pixel_counts.edges, metrics["pixel"]["threshold"]
            save_pixel_counts(output / PIXEL_COUNTS_FILE, PixelCounts(rows, counts, edges, cut))
        else:
            together.remove(output / PIXEL_COUNTS_FILE)  # of an older evaluation
        write_report(output / "report.html", f"cavga: {section.title}", [section])
        content = {**metrics, "files": together.hashes()}
        atomic_write(output / METRICS_FILE, (json.dumps(content, indent=2) + "\n").encode())


def counts_of(evaluation: Evaluation) -> dict[str, int]:
    """The `counts` of metrics.json that are of the test images."""
    scored = [image for image in evaluation.images if image.score is not None]
    return {
        "test_normal": sum(image.record.label == NORMAL for image in scored),
        "test_anomalous": sum(image.record.label == ANOMALOUS for image in scored),
        "with_mask": sum(image.record.label == ANOMALOUS and has_known_mask(image) for image in scored),
        "unreadable": len(evaluation.images) - len(scored),
    }


def _class_attention_of(model: Path, detector: AnomalyDetector) -> ClassAttentionOf | None:
    """What draws A^cn and A^ca, which an exported graph does not hold; None without a classifier or a run folder.

    None, too, where a photograph is not seen as a whole.
    """
    variant = VARIANTS.get(detector.description["variant"])  # a baseline's is none of ours
    has_no_classifier = variant is not None and variant.supervision == "u"
    if has_no_classifier or not model.is_dir() or not detector.tiling.is_plain:
        return None
    if isinstance(detector.engine, TorchEngine):
        return detector.class_attention
    return AnomalyDetector.load_in_torch(model, device="cpu").class_attention


def _complete(evaluation: Evaluation, detector: AnomalyDetector, *, excluded: int) -> dict[str, Any]:
    """metrics.json: the metrics with counts and provenance."""
    origin, tested = detector.description["provenance"], counts_of(evaluation)
    counts = {
        "train": origin["train"],
        "train_anomalous": origin.get("train_anomalous", 0),  # not in runs from before the w variants
        "calibration": detector.description["calibration"]["num_images"],
        **{key: tested[key] for key in ("test_normal", "test_anomalous", "with_mask")},
        "excluded": excluded,
        "unreadable": tested["unreadable"],
    }
    description = {key: detector.description[key] for key in ("variant", "preset", "calibration")}
    description["calibration"] = {key: value for key, value in description["calibration"].items() if key not in KEPT}
    source = {**origin, **description, "weights_sha256": detector.description["weights_sha256"]}
    return {**evaluation.metrics, "counts": counts, "provenance": source}


def _line(image: ScoredImage, threshold: float | None, hashes: Mapping[ImageRecord, str]) -> PredictionLine:
    return prediction_line(
        image.record.relative_path,
        score=image.score,
        threshold=threshold,
        decided=image.is_anomalous,
        p_value=image.p_value,
        label=image.record.label,
        error=image.error,
        milliseconds=image.milliseconds,
        sha256=hashes.get(image.record),
        **({"remarks": list(image.remarks)} if image.remarks else {}),
    )
