"""The thresholds of a graph: from held-out normal images, or from folds where images are few."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.calibration import Calibration, calibrate
from cavga.config import RunConfig
from cavga.data.dataset import TrainingImages, image_batches
from cavga.data.records import folds
from cavga.detector import AnomalyDetector
from cavga.fitting import fit_whitened
from cavga.inference import InferenceGraph, ScoringGraph
from cavga.runs import TrainingData

NUM_FOLDS = 5  # where too few normal images are there to hold some out


def calibrate_graph(
    graph: InferenceGraph, images: TrainingImages, inputs: TrainingData, config: RunConfig
) -> Calibration:
    """Set the graph's thresholds: from the held-out images, or from folds of the training images.

    A latent or a C that is trained has no folds: `cavga.runs.gather` holds images out for it however few there are.
    """
    device = next(graph.parameters()).device
    if inputs.calibration:
        return set_thresholds(graph, inputs, config, device)
    parts = folds(inputs.train, num_folds=NUM_FOLDS, seed=config.training.seed)
    results = score_folds(graph, images, parts, config)
    score = config.model.image_score or "map"
    return _apply(graph, calibrate(results, config.calibration, image_score=score, num_folds=len(parts)))


def _apply(graph: ScoringGraph, calibration: Calibration) -> Calibration:
    graph.image_threshold.fill_(calibration.image_threshold)
    graph.pixel_threshold.fill_(calibration.pixel_threshold)
    return calibration


def set_thresholds(graph: ScoringGraph, inputs: TrainingData, config: RunConfig, device: torch.device) -> Calibration:
    """Calibrate the graph on the held-out normal images."""
    detector = AnomalyDetector(graph, {}, device=device)
    predictions = detector.predict(record.path for record in inputs.calibration)
    results = ((p.score, p.anomaly_map) for p in predictions)
    return _apply(graph, calibrate(results, config.calibration, image_score=config.model.image_score or "map"))


def score_folds(
    graph: InferenceGraph, images: TrainingImages, parts: Sequence[Sequence[int]], config: RunConfig
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """(score, anomaly map) of every normal image, from a latent fitted on the other folds (cross-conformal, Vovk 2015).

    The graph itself is left as it is. Its encoder is shared: one that was trained on these images has
    seen them, so these scores are a little too low then; a frozen one has not.
    """
    device = next(graph.parameters()).device
    for part in parts:
        held = np.array(part, dtype=np.intp)
        rest = np.setdiff1d(np.arange(images.num_normal), held)
        fold = copy.deepcopy(graph)
        others = np.concatenate([images.normal[rest], images.anomalous])
        fit_whitened(fold.model, TrainingImages(others, num_normal=len(rest)), config, device=device)
        for batch in image_batches(images.normal[held], device):
            with torch.inference_mode():
                output = fold.score_images(batch)
            yield from zip(output.score.tolist(), output.anomaly_map.cpu().numpy(), strict=True)
