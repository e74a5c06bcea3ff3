"""Baselines: other methods in the same harness, thresholds, test images and metrics as CAVGA's own rows.

Some read the features of another experiment's run. The others train a network of their own, some of them on image
labels. Their list is cavga.benchmark.baselines.index.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cavga.benchmark.baselines.autoencoder import network_config
from cavga.benchmark.baselines.index import BASELINES, LABELLED, TRAINED
from cavga.benchmark.baselines.label_classifier import ExplanationGraph
from cavga.benchmark.experiments.experiment import Experiment
from cavga.config.schema import RunConfig
from cavga.data.dataset import cache_images
from cavga.data.records import hold_out
from cavga.evaluation.evaluate import evaluate_detector
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph
from cavga.inference.torch_engine import TorchEngine, choose_device, load_run
from cavga.training.fit_thresholds import set_thresholds
from cavga.training.inputs import TrainingData, gather_training_images
from cavga.training.run_folder import encoder_label, provenance


def run_baseline(experiment: Experiment, data: Path, run: Path, output: Path) -> dict[str, Any]:
    """Fit, calibrate and evaluate a baseline in the same way as a run of our own.

    Where our own rows use folds, which would be dear here, thresholds come from a baseline without the images held
    out, and one that is fitted to all of them is evaluated: so every row learns from the same images.
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
    graph.fit(images[is_fitted], device)
    calibration = set_thresholds(graph, replace(inputs, train=fitted, calibration=held), config, device)
    if not is_fitted.all():
        graph.fit(images, device)
    description = {**description, "preset": "baseline", "calibration": calibration.as_dict()}
    baseline = AnomalyDetector(TorchEngine(graph, device), description, inputs.tiling)
    metrics = evaluate_detector(baseline, inputs.catalog, run, used=dict.fromkeys(inputs.hashes.values(), "")).metrics
    del images
    for cache in run.glob("images-*"):
        cache.unlink()
    return {"metrics": metrics}


def _start(
    experiment: Experiment, config: RunConfig, inputs: TrainingData, run: Path, output: Path
) -> tuple[Any, torch.device, dict[str, Any]]:
    """The baseline before it is fitted, where it computes, and what a model.json would say of it."""
    found = BASELINES[experiment.method]
    if found.kind == TRAINED:
        device, graph = choose_device(config.training.device), found.make(config)
        origin = provenance(inputs, config, device=str(device), seconds=0.0)
        origin["encoder"] = encoder_label(network_config(config, units=1))
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
