"""train -> calibrate -> save -> evaluate, composed once: command line, demo, benchmark and library call this."""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cavga.calibration import Calibration
from cavga.checkpoint import TRAINING_FOLDER, load_description, save_model
from cavga.config import RunConfig, as_dict, is_trained_on_made
from cavga.data.dataset import TrainingImages, cache_images
from cavga.data.made_images import MadeImages, make_images
from cavga.data.manifest import sha256_of
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.detector import AnomalyDetector, choose_device, is_needed
from cavga.errors import DataError, UsageError
from cavga.evaluation import (
    Evaluation,
    ScoredImage,
    evaluate_records,
    has_known_mask,
    jsonl,
    prediction_line,
)
from cavga.files import atomic_write
from cavga.first_filters import set_first_filters
from cavga.fitting import fit_classes, fit_prior
from cavga.inference import graph_of
from cavga.model.cavga import Cavga
from cavga.model.variants import build, is_whitened_first
from cavga.model.weights import load_encoder_weights
from cavga.presets import make_config, resolve
from cavga.prior_fitting import HeldOut
from cavga.report import Section, write_report
from cavga.runs import (
    MANIFEST_FILE,
    TrainingData,
    check_output,
    check_resumable,
    fingerprint,
    gather,
    load_like_run,
    provenance,
    used_images,
    write_inputs,
)
from cavga.sections import make_section
from cavga.self_check import check_training_images
from cavga.thresholds import calibrate_graph, folds_of
from cavga.training import STATE_FILE, Progress, make_players
from cavga.training import train as train_players
from cavga.whitening import fit_latent

logger = logging.getLogger("cavga")


def train(
    data: str | Path,
    output: str | Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    on_step: Callable[[Progress], None] = lambda _progress: None,
) -> Path:
    """Train on the good images of `data` and write a run folder to `output`; returns its path.

    Raises DataError before anything is written if an image cannot be read, UsageError if `output`
    already holds a run and `resume` is False, ResumeError if data or settings changed since.
    """
    started = time.monotonic()
    if config is not None and not isinstance(config, RunConfig):
        raise UsageError(f"config: expected a RunConfig (see cavga.make_config), got {type(config).__name__}")
    config = make_config("recommended") if config is None else resolve(config)
    run = Path(output)
    check_output(run, resume=resume)
    device = choose_device(config.training.device)
    inputs = gather(Path(data), config)
    identity, size = fingerprint(inputs, config), config.data.image_size
    check_resumable(run, identity, resume=resume)
    if inputs.drawn:
        logger.info("labelled bad images drawn from the test set: %s", ", ".join(inputs.drawn))
    with _deterministic(config.training.seed, device):
        model = build(config.model, image_size=size)
        load_encoder_weights(model.encoder, config.model.weights or "none")
        model.to(device)
        write_inputs(run, inputs, config, identity=identity)
        images = _cache(inputs, config, run)
        held_out = _fit(model, images, inputs, config, run, fingerprint=identity, resume=resume, on_step=on_step)
        graph = graph_of(model, config)
        calibration, scores = calibrate_graph(graph, images, inputs, config, held_out)
        check = check_training_images(graph, inputs, calibration, device, scores=scores)
    logger.info("%s", calibration.promise())
    origin = provenance(inputs, config, device=str(device), seconds=time.monotonic() - started)
    origin["manifest_sha256"] = sha256_of(run / MANIFEST_FILE)
    tensors = {key: value for key, value in graph.state_dict().items() if is_needed(key, config)}
    description = _describe(config, calibration)
    save_model(run, tensors, {**description, **check.as_dict(), "provenance": origin})
    del images
    for cache in (run / TRAINING_FOLDER).glob("images-*"):
        cache.unlink()
    return run


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """What `evaluate` found: the content of metrics.json, the report's section, files left out."""

    metrics: dict[str, Any]
    section: Section
    problems: list[str]


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
) -> EvaluatedRun:
    """Evaluate a run on the labelled test images of `data`; writes metrics.json, predictions.jsonl, report.html.

    Images that the run, or one of the runs in `without`, was trained or calibrated on are left out, by
    content. `output` defaults to the run folder. `category` may be the normal class of a set of classes; that
    and `mask_cut` default to the run's. Raises DataError if no labelled test image is left.
    """
    if output is not None and Path(output).is_file():
        raise UsageError(f"--output {output} is a file: expected a folder")
    detector = AnomalyDetector.load(run, device=device)
    used = used_images(Path(run), detector.description)
    others = [without] if isinstance(without, str | Path) else without
    for other in map(Path, others):
        used |= used_images(other, load_description(other))
    target = Path(run if output is None else output)
    return evaluate_detector(
        detector,
        Path(data),
        target,
        used=used,
        without=[str(other) for other in others],
        category=category,
        mask_cut=mask_cut,
        at_original_size=at_original_size,
    )


def evaluate_detector(
    detector: AnomalyDetector,
    data: Path,
    output: Path,
    *,
    used: Mapping[str, str],
    without: Sequence[str] = (),
    category: str | None = None,
    mask_cut: float | None = None,
    at_original_size: bool = False,
) -> EvaluatedRun:
    """As `evaluate`, for a detector that is already there; `used` maps the sha256 of images to leave out.

    `without` names the other runs whose images are among those, for metrics.json.
    """
    settings = detector.description["config"]["data"]
    catalog = load_like_run(settings, data, category=category, mask_cut=mask_cut)
    labelled = [record for record in catalog.split("test") if record.label is not None]
    records = [record for record in labelled if not record.path.is_file() or sha256_of(record.path) not in used]
    if not records:
        raise DataError(
            f"{data} holds no labelled test images that were not trained on: expected them in "
            "test/good and test/<defect>, or split test in a manifest"
        )
    folder = tempfile.TemporaryDirectory(prefix="cavga-")
    with folder:
        evaluation = evaluate_records(
            detector, records, folder=folder, at_original_size=at_original_size, expects_masks=catalog.expects_masks
        )
        metrics = _complete(evaluation, detector, excluded=len(labelled) - len(records))
        metrics["provenance"]["without"] = list(without)
        section = make_section(catalog.title, metrics, evaluation, detector)
    lines = [_line(image, detector.image_threshold) for image in evaluation.images]
    atomic_write(output / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    atomic_write(output / "predictions.jsonl", jsonl(lines))
    write_report(output / "report.html", f"cavga: {section.title}", [section])
    return EvaluatedRun(metrics, section, evaluation.problems)


def _cache(inputs: TrainingData, config: RunConfig, run: Path) -> TrainingImages:
    """Every training image at the model's input size, the normal ones first."""
    records = [*inputs.train, *inputs.anomalous]
    size, folder = config.data.image_size, run / TRAINING_FOLDER
    images = cache_images(records, inputs.hashes_of(records), size=size, folder=folder)
    return TrainingImages(images, num_normal=len(inputs.train))


def _fit(
    model: Cavga,
    images: TrainingImages,
    inputs: TrainingData,
    config: RunConfig,
    run: Path,
    *,
    fingerprint: str,
    resume: bool,
    on_step: Callable[[Progress], None],
) -> HeldOut | None:
    """Set the latent, train, and fit what stands on the latent; what an aggregated prior measured comes back.

    A frozen encoder's features can be whitened before the training; a trained one's after.
    """
    settings, device = config.model, next(model.parameters()).device
    is_whitened = settings.latent == "whitened"
    is_resumed = resume and (run / TRAINING_FOLDER / STATE_FILE).is_file()
    if is_whitened_first(settings) and not is_resumed:  # the checkpoint holds it
        fit_latent(model, images.normal, settings, device=device)
    players = make_players(model, config, device)
    seen: TrainingImages | MadeImages = images
    if is_trained_on_made(settings):
        if not is_resumed:
            set_first_filters(model.encoder, images.normal, device=device)
        seen = make_images(images.normal, seed=config.training.seed)
    elif is_whitened:  # it takes nothing from labels: only C does, which is fitted once the latent is fixed
        seen = TrainingImages(images.normal, images.num_normal)
    train_players(players, seen, config, folder=run, fingerprint=fingerprint, resume=resume, on_step=on_step)
    if is_whitened and not is_whitened_first(settings):
        fit_latent(model, images.normal, settings, device=device)
    held_out = fit_prior(model, images.normal, config, folds_of(inputs, config), device=device)
    if is_whitened:
        fit_classes(model, images, config, device=device)
    return held_out


def _describe(config: RunConfig, calibration: Calibration) -> dict[str, Any]:
    """The part of model.json that follows from the settings and the thresholds."""
    return {
        "variant": config.model.variant,
        "preset": config.preset,
        "preprocessing": {
            "image_size": list(config.data.image_size),
            "resize": "antialiased bilinear to exactly this size, rounded to whole grey levels",
            "colour": "RGB; grey is repeated",
        },
        "calibration": calibration.as_dict(),
        "config": as_dict(config),
    }


@contextmanager
def _deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded and deterministic inside, the caller's torch settings untouched outside."""
    before, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        # On CUDA some backward passes have no deterministic form; torch then warns and goes on.
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)


def _complete(evaluation: Evaluation, detector: AnomalyDetector, *, excluded: int) -> dict[str, Any]:
    """metrics.json: the metrics with counts and provenance."""
    scored = [image for image in evaluation.images if image.score is not None]
    origin = detector.description["provenance"]
    counts = {
        "train": origin["train"],
        "train_anomalous": origin.get("train_anomalous", 0),  # not in runs from before the w variants
        "calibration": detector.description["calibration"]["num_images"],
        "test_normal": sum(image.record.label == NORMAL for image in scored),
        "test_anomalous": sum(image.record.label == ANOMALOUS for image in scored),
        "with_mask": sum(image.record.label == ANOMALOUS and has_known_mask(image) for image in scored),
        "excluded": excluded,
        "unreadable": len(evaluation.images) - len(scored),
    }
    description = {key: detector.description[key] for key in ("variant", "preset", "calibration")}
    source = {**origin, **description, "weights_sha256": detector.description["weights_sha256"]}
    return {**evaluation.metrics, "counts": counts, "provenance": source}


def _line(image: ScoredImage, threshold: float) -> dict[str, Any]:
    return prediction_line(
        image.record.relative_path,
        score=image.score,
        threshold=threshold,
        label=image.record.label,
        error=image.error,
        milliseconds=image.milliseconds,
    )
