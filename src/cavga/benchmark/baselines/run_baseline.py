"""Controls: other methods in the same harness, thresholds, test images and metrics as CAVGA's own rows.

Some read the features of another cell's run, the others train a network of their own, some of those on image labels.
A control is one file in cavga.baselines and one line in a table here.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cavga.benchmark.baselines.advae import AdvaeGraph
from cavga.benchmark.baselines.ae_l2 import AeL2Graph
from cavga.benchmark.baselines.ae_ssim import AeSsimGraph
from cavga.benchmark.baselines.autoencoder import network_config
from cavga.benchmark.baselines.beta_vae import BetaVaeGraph
from cavga.benchmark.baselines.explanations import cam, guided_backprop, smoothgrad
from cavga.benchmark.baselines.gamma_vae_g import GammaVaeGraph
from cavga.benchmark.baselines.label_classifier import Explain, ExplanationGraph
from cavga.benchmark.baselines.padim import PadimGraph
from cavga.benchmark.baselines.patchcore import PatchcoreGraph
from cavga.benchmark.experiments.experiment import Cell
from cavga.config.schema import RunConfig
from cavga.data.dataset import cache_images
from cavga.data.records import hold_out
from cavga.evaluation.evaluate import evaluate_detector
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph
from cavga.inference.torch_engine import TorchEngine, choose_device, load_run
from cavga.training.fit_thresholds import set_thresholds
from cavga.training.inputs import TrainingData, gather
from cavga.training.run_folder import encoder_label, provenance

FeatureControl = PadimGraph | PatchcoreGraph
TrainedControl = AeL2Graph | AeSsimGraph | BetaVaeGraph | AdvaeGraph | GammaVaeGraph
ON_FEATURES: Mapping[str, type[FeatureControl]] = {"padim": PadimGraph, "patchcore": PatchcoreGraph}
TRAINED: Mapping[str, type[TrainedControl]] = {
    "ae_l2": AeL2Graph,
    "ae_ssim": AeSsimGraph,
    "beta_vae": BetaVaeGraph,
    "advae": AdvaeGraph,
    "gamma_vae_g": GammaVaeGraph,
}
LABELLED: Mapping[str, Explain] = {"cam": cam, "guided_backprop": guided_backprop, "smoothgrad": smoothgrad}


def run_control(cell: Cell, data: Path, run: Path, output: Path) -> dict[str, Any]:
    """Fit, calibrate and evaluate a control in the same way as a run of our own.

    Where our own rows use folds, which would be dear here, thresholds come from a control without the images held
    out, and one that is fitted to all of them is evaluated: so every row learns from the same images.
    """
    config = cell.config()
    inputs = gather(data, config)
    fitted, held = inputs.train, inputs.calibration
    if not held:
        fitted, held = hold_out(inputs.train, fraction=config.data.calibration_fraction, seed=cell.seed)
    graph, device, description = _start(cell, config, inputs, run, output)
    images = cache_images(inputs.train, inputs.hashes_of(inputs.train), size=config.data.image_size, folder=run)
    chosen = set(fitted)
    is_fitted = np.array([record in chosen for record in inputs.train])
    graph.fit(images[is_fitted], device)
    calibration = set_thresholds(graph, replace(inputs, train=fitted, calibration=held), config, device)
    if not is_fitted.all():
        graph.fit(images, device)
    description = {**description, "preset": "control", "calibration": calibration.as_dict()}
    control = AnomalyDetector(TorchEngine(graph, device), description, inputs.framing)
    metrics = evaluate_detector(control, inputs.catalog, run, used=dict.fromkeys(inputs.hashes.values(), "")).metrics
    del images
    for cache in run.glob("images-*"):
        cache.unlink()
    return {"metrics": metrics}


def _start(
    cell: Cell, config: RunConfig, inputs: TrainingData, run: Path, output: Path
) -> tuple[FeatureControl | TrainedControl | ExplanationGraph, torch.device, dict[str, Any]]:
    """The control before it is fitted, where it computes, and what a model.json would say of it."""
    if cell.method in TRAINED:
        device, graph = choose_device(config.training.device), TRAINED[cell.method](config)
        origin = provenance(inputs, config, device=str(device), seconds=0.0)
        origin["encoder"] = encoder_label(network_config(config, units=1))
        return graph, device, {"variant": cell.method, "provenance": origin, "weights_sha256": None}
    if cell.method in LABELLED:
        bad, size = inputs.anomalous, config.data.image_size
        labelled = cache_images(bad, inputs.hashes_of(bad), size=size, folder=run)
        control = ExplanationGraph(LABELLED[cell.method], config, labelled)
        origin = provenance(inputs, config, device=config.training.device, seconds=0.0)
        description = {"variant": cell.method, "provenance": origin, "weights_sha256": None}
        return control, choose_device(config.training.device), description
    base = replace(cell, name=cell.features_of or "")
    engine, description = load_run(output / base.folder, "auto")
    assert isinstance(engine.graph, InferenceGraph)
    features = engine.graph.model
    on_features = ON_FEATURES[cell.method](features, image_size=config.data.image_size, seed=cell.seed)
    return on_features, engine.device, description
