"""Baselines: other methods in the same harness, thresholds, test images and metrics as CAVGA's own rows.

Some read the features of another experiment's run. The others train a network of their own, some of them on image
labels. Their list is cavga.benchmark.baselines.index.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.arrays import AnomalyMap
from cavga.benchmark.baselines.autoencoder import network_config
from cavga.benchmark.baselines.index import BASELINES, FITTED, LABELLED, TRAINED
from cavga.benchmark.baselines.label_classifier import ExplanationGraph
from cavga.benchmark.experiments.experiment import Experiment
from cavga.benchmark.promised_rates import at_promised_rates
from cavga.calibration.rules import num_needed
from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import RunConfig
from cavga.data.dataset import cache_images, image_batches
from cavga.data.records import hold_out
from cavga.evaluation.evaluate import evaluate_detector
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph
from cavga.inference.lines import PREDICTIONS_FILE
from cavga.inference.torch_engine import TorchEngine, choose_device, load_run
from cavga.training.fit_thresholds import folds_of, set_thresholds
from cavga.training.inputs import TrainingData, gather_training_images
from cavga.training.run_folder import encoder_label, provenance


def run_baseline(experiment: Experiment, data: Path, run: Path, output: Path) -> dict[str, Any]:
    """Fit, calibrate and evaluate a baseline in the same way as a run of our own.

    Where our own rows use folds, which would be dear here, thresholds come from a baseline without the images held
    out, and one that is fitted to all of them is evaluated: so every row learns from the same images. Where a fifth is
    too few to promise the false alarm rate that is asked for, they come from folds as ours do.
    """
    config = experiment.config()
    inputs = gather_training_images(data, config)
    config = inputs.settled(config)
    fitted, held = inputs.train, inputs.calibration
    if not held:
        fitted, held = hold_out(inputs.train, fraction=config.data.calibration_fraction, seed=experiment.seed)
    graph, device, description = _start(experiment, config, inputs, run, output)
    images = cache_images(inputs.train, inputs.hashes_of(inputs.train), size=config.data.input_size, folder=run)
    chosen = set(fitted)
    is_fitted = np.array([record in chosen for record in inputs.train])
    if not inputs.calibration and len(held) < num_needed(config.calibration.false_alarm_rate):
        calibration = calibrate_by_folds(graph, images, inputs, config, device)
    else:
        graph.fit(images[is_fitted], device)
        calibration = set_thresholds(graph, replace(inputs, train=fitted, calibration=held), config, device)
    if not inputs.calibration:
        graph.fit(images, device)
    description = {**description, "preset": "baseline", "calibration": calibration.as_dict()}
    baseline = AnomalyDetector(TorchEngine(graph, device), description, inputs.tiling)
    metrics = evaluate_detector(baseline, inputs.catalog, run, used=dict.fromkeys(inputs.hashes.values(), "")).metrics
    del images
    for cache in run.glob("images-*"):
        cache.unlink()
    return {"metrics": metrics, "promised": at_promised_rates(calibration, run / PREDICTIONS_FILE)}


def calibrate_by_folds(
    graph: Any, images: NDArray[np.uint8], inputs: TrainingData, config: RunConfig, device: torch.device
) -> Calibration:
    """Set the graph's thresholds: each image is scored by a baseline that was fitted to the other folds."""
    parts = folds_of(inputs, config)
    results: dict[int, tuple[float, AnomalyMap]] = {}
    for part in parts:
        held = np.array(part, dtype=np.intp)
        graph.fit(images[np.setdiff1d(np.arange(len(images)), held)], device)
        with torch.inference_mode():  # of the scores alone: some are trained in `fit`
            outputs = [graph.score_images(batch) for batch in image_batches(images[held], device)]
        scores = torch.cat([output.score for output in outputs]).tolist()
        maps = torch.cat([output.anomaly_map for output in outputs]).cpu().numpy()
        results |= dict(zip(part, zip(scores, maps, strict=True), strict=True))
    units = [inputs.units[position] for position in results]
    calibration = calibrate(results.values(), config.calibration, num_folds=len(parts), units=units)
    graph.image_threshold.fill_(calibration.image_threshold)
    graph.pixel_threshold.fill_(calibration.pixel_threshold)
    return calibration


def _start(
    experiment: Experiment, config: RunConfig, inputs: TrainingData, run: Path, output: Path
) -> tuple[Any, torch.device, dict[str, Any]]:
    """The baseline before it is fitted, where it computes, and what a model.json would say of it."""
    found = BASELINES[experiment.method]
    if found.kind in (TRAINED, FITTED):
        device, graph = choose_device(config.training.device), found.make(config)
        origin = provenance(inputs, config, device=str(device), seconds=0.0)
        origin["encoder"] = _encoder_of(found.kind, config)
        return graph, device, {"variant": experiment.method, "provenance": origin, "weights_sha256": None}
    if found.kind == LABELLED:
        bad, size = inputs.anomalous, config.data.input_size
        labelled = cache_images(bad, inputs.hashes_of(bad), size=size, folder=run)
        baseline = ExplanationGraph(found.make, config, labelled)
        origin = provenance(inputs, config, device=config.training.device, seconds=0.0)
        description = {"variant": experiment.method, "provenance": origin, "weights_sha256": None}
        return baseline, choose_device(config.training.device), description
    base = replace(experiment, name=experiment.features_of or "")
    engine, description = load_run(output / base.folder, "auto")
    assert isinstance(engine.graph, InferenceGraph)
    features = engine.graph.model
    on_features = found.make(features, image_size=config.data.input_size, seed=experiment.seed)
    return on_features, engine.device, description


def _encoder_of(kind: str, config: RunConfig) -> str:
    """Which encoder a baseline without a run of ours has: that of networks, a pretrained one, or none."""
    if kind == TRAINED:
        return encoder_label(network_config(config, units=1))
    return encoder_label(config) if config.model.backbone == "r" else "none"
