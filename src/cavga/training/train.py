"""train -> calibrate -> save -> export, composed once: command line, demo, benchmark and library call this."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cavga.atomic_files import refuse_file
from cavga.calibration.thresholds import Calibration
from cavga.config.presets import make_config
from cavga.config.resolve import resolve
from cavga.config.schema import RunConfig, as_dict
from cavga.config.variant import TrainingPlan
from cavga.data.dataset import TrainingImages, cache_images
from cavga.data.manifest import sha256_of
from cavga.errors import CavgaError, UsageError
from cavga.exporting.export import export_run
from cavga.images.tiling import Tiling
from cavga.inference.graph import graph_of
from cavga.inference.torch_engine import choose_device, is_needed
from cavga.model.arithmetic import exact_float32
from cavga.model.build import build
from cavga.model.cavga import Cavga
from cavga.model.pretrained import load_encoder_weights
from cavga.output_lock import writing_to
from cavga.progress import SILENT, Progress, in_words
from cavga.runs.checkpoint import save_model
from cavga.runs.map_unit import MAP_UNIT_KEY, map_unit
from cavga.runs.model_json import MANIFEST_FILE, ONNX_FILE, TRAINING_FOLDER
from cavga.synthetic.crops import SyntheticImages, synthesise_images
from cavga.training.audit import check_training_images
from cavga.training.duration import expected_seconds
from cavga.training.features import Features, features_of, save_features
from cavga.training.fit import fit_classes, fit_decoder_statistics, fit_prior
from cavga.training.fit_latent import fit_latent
from cavga.training.fit_prior import CrossFitEnergies
from cavga.training.fit_thresholds import calibrate_graph, folds_of
from cavga.training.gan_weights import GanWeights, gan_weights_for
from cavga.training.inputs import TrainingData, gather_training_images
from cavga.training.loop import STATE_FILE, make_networks
from cavga.training.loop import train as train_networks
from cavga.training.pca_filters import init_filters_by_pca
from cavga.training.run_folder import check_output, check_resumable, fingerprint, provenance, write_inputs
from cavga.training.suspicious import check_that_photographs_can_be_judged, suspicious_photographs

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class Start:
    """What a training starts from: GAN weights if there are any, and the run's own checkpoint if it is resumed."""

    gan_weights: GanWeights | None
    fingerprint: str
    resume: bool


def train(
    data: str | Path,
    output: str | Path,
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    with_export: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Train on the good images of `data` and write a run folder to `output`; returns its path.

    Ends by writing the exported graph, RUN/model.onnx, unless `with_export` is False.

    Raises DataError before anything is written if an image cannot be read, UsageError if `output`
    already holds a run and `resume` is False, ResumeError if data or settings changed since.
    """
    if config is not None and not isinstance(config, RunConfig):
        raise UsageError(f"config: expected a RunConfig (see cavga.make_config), got {type(config).__name__}")
    config = make_config("recommended") if config is None else resolve(config)
    if config.data.drop_suspicious:
        check_that_photographs_can_be_judged(config)
    run = Path(output)
    refuse_file(run)
    with writing_to(run, below=[TRAINING_FOLDER]):
        return _train(Path(data), run, config, resume=resume, with_export=with_export, progress=progress)


def _train(
    data: Path,
    run: Path,
    config: RunConfig,
    *,
    resume: bool,
    with_export: bool,
    progress: Progress,
) -> Path:
    started = time.monotonic()
    check_output(run, resume=resume)
    device = choose_device(config.training.device)
    inputs = gather_training_images(data, config, progress)
    config = inputs.settled(config)
    gan_weights = gan_weights_for(config)
    identity = fingerprint(inputs, config)
    check_resumable(run, identity, resume=resume)
    if inputs.drawn:
        logger.info("labelled bad images drawn from the test set: %s", ", ".join(inputs.drawn))
    with deterministic(config.training.seed, device):
        model = build(config.model, image_size=config.data.input_size)
        load_encoder_weights(model.encoder, config.model.weights or "none")
        if gan_weights is not None:
            gan_weights.start_model(model)
        model.to(device)
        images = _cached(inputs, config, run, identity, progress)
        inputs = _without_suspicious(model, images, inputs, config, progress)
        if inputs.dropped:
            images = _cached(inputs, config, run, identity, progress)
        start = Start(gan_weights, fingerprint=identity, resume=resume)
        _announce(expected_seconds(model, images, config, with_export=with_export), progress)
        held_out = _fit(model, images, inputs, config, run, start, progress)
        graph = graph_of(model, config)
        calibration, scores = calibrate_graph(graph, images, inputs, config, held_out, progress)
        check = check_training_images(graph, inputs, calibration, device, scores=scores, progress=progress)
        save_features(run, _features(model, images, inputs, config, held_out), graph)
    for sentence in calibration.guarantees():
        logger.info("%s", sentence)
    seconds, known = time.monotonic() - started, None if gan_weights is None else gan_weights.provenance()
    origin = provenance(inputs, config, device=str(device), seconds=seconds, gan_weights=known)
    origin["manifest_sha256"] = sha256_of(run / MANIFEST_FILE)
    tensors = {key: value for key, value in graph.state_dict().items() if is_needed(key, config)}
    save_model(run, tensors, {**_describe(config, calibration, inputs.tiling), **check.as_dict(), "provenance": origin})
    del images
    for cache in (run / TRAINING_FOLDER).glob("images-*"):
        cache.unlink()
    if with_export:
        _export(run, progress=progress)
    return run


def _without_suspicious(
    model: Cavga, images: TrainingImages, inputs: TrainingData, config: RunConfig, progress: Progress
) -> TrainingData:
    """The inputs without the photographs that score far above all others, where that is asked for; says which."""
    if not config.data.drop_suspicious:
        return inputs
    found = suspicious_photographs(model, images, config, folds_of(inputs, config), progress)
    if not found:
        logger.info("no photograph scores far above the others: none is left out")
        return inputs
    named = ", ".join(f"{inputs.train[position].relative_path} ({score:.3g})" for position, score in found)
    logger.info("left out, because they score far above the others: %s", named)
    return inputs.without([position for position, _ in found])


def _features(
    model: Cavga,
    images: TrainingImages,
    inputs: TrainingData,
    config: RunConfig,
    held_out: CrossFitEnergies | None,
) -> Features | None:
    """What `cavga refit` needs; None of a model that cannot be refitted."""
    if held_out is None or config.data.tile is not None or config.model.supervision == "w":
        return None
    sizes = [inputs.sizes[record.relative_path] for record in inputs.train]
    return features_of(model, images, config, folds_of(inputs, config), held_out, sizes)


def _announce(seconds: dict[str, float], progress: Progress) -> None:
    """Say beforehand about how long it will take."""
    progress.plan(seconds)
    logger.info("training takes about %s here", in_words(sum(seconds.values())))


def _export(run: Path, *, progress: Progress) -> None:
    """Write RUN/model.onnx; a run without it is still a run."""
    (run / ONNX_FILE).unlink(missing_ok=True)  # of an earlier training
    try:
        exported = export_run(run, progress=progress)
    except CavgaError as error:
        logger.warning("%s is not written, so predicting from this run takes torch: %s", ONNX_FILE, error)
    else:
        logger.info("%s predicts without torch: %s", ONNX_FILE, exported.check.in_words())


def _cached(inputs: TrainingData, config: RunConfig, run: Path, identity: str, progress: Progress) -> TrainingImages:
    """Every training image, or tile of one, at the model's input size, the normal ones first; the run says which."""
    write_inputs(run, inputs, config, identity=identity)
    records = [*inputs.train, *inputs.anomalous]
    images = cache_images(
        records,
        inputs.hashes_of(records),
        size=config.data.input_size,
        folder=run / TRAINING_FOLDER,
        tiling=inputs.tiling,
        num_tiles=inputs.num_tiles(records),
        progress=progress,
    )
    counts = inputs.num_tiles(inputs.train)
    photographs = None if config.data.tile is None else np.repeat(np.arange(len(counts)), counts)
    units = np.repeat(np.array(inputs.units, dtype=np.intp), counts)
    return TrainingImages(images, num_normal=sum(counts), photographs=photographs, units=units)


def _fit(
    model: Cavga,
    images: TrainingImages,
    inputs: TrainingData,
    config: RunConfig,
    run: Path,
    start: Start,
    progress: Progress,
) -> CrossFitEnergies | None:
    """Set the latent, train, and fit what stands on the latent; what an aggregated prior measured comes back.

    A frozen encoder's features can be whitened before the training; a trained one's after.
    """
    settings, device = config.model, next(model.parameters()).device
    is_resumed = start.resume and (run / TRAINING_FOLDER / STATE_FILE).is_file()  # what is fitted is in the checkpoint
    if settings.plan is TrainingPlan.WHITENED_FIRST and not is_resumed:
        fit_latent(model, images.normal, settings, device=device, progress=progress)
    networks = make_networks(model, config, device)
    if start.gan_weights is not None:
        start.gan_weights.start_discriminator(networks.discriminator)
    if settings.plan is TrainingPlan.END_TO_END and not is_resumed:
        init_filters_by_pca(model.encoder, images.normal, device=device)
    train_networks(
        networks, _seen_by_the_loop(images, config), config, folder=run, fingerprint=start.fingerprint,
        resume=start.resume, progress=progress,
    )  # fmt: skip
    if settings.image_score == "residual":
        fit_decoder_statistics(model, images.normal, device=device)
    if settings.plan is TrainingPlan.WHITENED_AFTER:
        fit_latent(model, images.normal, settings, device=device, progress=progress)
    parts = images.tiles_of(folds_of(inputs, config))
    held_out = fit_prior(model, images, config, parts, device=device, progress=progress)
    if settings.plan.is_whitened:
        fit_classes(model, images, config, held_out, device=device, progress=progress)
    return held_out


def _seen_by_the_loop(images: TrainingImages, config: RunConfig) -> TrainingImages | SyntheticImages:
    """The images that the loop trains on."""
    match config.model.plan:
        case TrainingPlan.TRAINED:
            return images
        case TrainingPlan.END_TO_END:
            seed = config.training.seed
            return synthesise_images(images.normal_in_memory(seed=seed), seed=seed)
        case _:  # nothing is taken from labels: only C does that, which is fitted once the latent is fixed
            return TrainingImages(images.normal, images.num_normal)


def _describe(config: RunConfig, calibration: Calibration, tiling: Tiling) -> dict[str, Any]:
    """The part of model.json that follows from the settings and the thresholds."""
    return {
        "variant": config.model.variant,
        "preset": config.preset,
        "preprocessing": {
            "image_size": list(config.data.input_size),
            "resize": "antialiased bilinear to exactly this size, rounded to whole grey levels",
            "colour": "RGB; grey is repeated",
            **tiling.described(),
        },
        "calibration": calibration.as_dict(),
        MAP_UNIT_KEY: map_unit(config.model),
        "config": as_dict(config),
    }


@contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded, deterministic and in exact float32 inside, the caller's torch settings untouched outside."""
    before, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with exact_float32(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        # On CUDA some backward passes have no deterministic form; torch then warns and goes on.
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
