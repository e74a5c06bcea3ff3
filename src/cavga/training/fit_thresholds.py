"""The thresholds of a graph: from held-out normal images, or from folds of the training images."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import RunConfig
from cavga.data.copies import read_as_hashed
from cavga.data.dataset import TrainingImages, image_batch, image_batches
from cavga.data.records import folds, unit_numbers
from cavga.images.tiling import stitch_results
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph, ScoringGraph
from cavga.inference.sources import AHEAD
from cavga.inference.torch_engine import TorchEngine
from cavga.progress import SILENT, Progress, counted
from cavga.training.fit import NUM_FOLDS, fit_whitened, unseen_by_guided_head
from cavga.training.fit_prior import CrossFitEnergies, Folds
from cavga.training.inputs import TrainingData

ScoreAndMap = tuple[float, NDArray[np.float32] | None]


def folds_of(inputs: TrainingData, config: RunConfig) -> Folds:
    """The folds of the training images: positions, no group cut."""
    return folds(inputs.train, num_folds=NUM_FOLDS, seed=config.training.seed)


def calibrate_graph(
    graph: InferenceGraph,
    images: TrainingImages,
    inputs: TrainingData,
    config: RunConfig,
    held_out: CrossFitEnergies | None,
    progress: Progress = SILENT,
) -> tuple[Calibration, dict[int, float]]:
    """Set the graph's thresholds: from the held-out images, or from folds of the training images.

    The scores of training images come back too, by position, where folds gave them: each by a model that had not
    seen the image. A latent or a C that is trained has no folds: `gather_training_images` holds images out for it
    however few there are.
    """
    device = next(graph.parameters()).device
    if inputs.calibration:
        return set_thresholds(graph, inputs, config, device, progress), {}
    parts = folds_of(inputs, config)
    if held_out is None:
        tiles = score_folds(graph, images, images.tiles_of(parts), config, progress)
        positions = [position for part in parts for position in part]
    else:
        progress.begin("thresholds", len(held_out.images), "images")
        tiles = counted(_scored(graph, images, held_out, config, device), progress)
        positions = np.unique(images.photograph_of[held_out.images]).tolist()
    sizes = [inputs.sizes[inputs.train[position].relative_path] for position in positions]
    whole = stitch_results(inputs.tiling, sizes, tiles)
    # Of a map its peak alone is looked at: those of many large photographs are not kept.
    results = [(score, None if found is None else found.max(keepdims=True)) for score, found in whole]
    numbers = inputs.units
    units = [numbers[position] for position in positions]
    calibration = calibrate(
        results, config.calibration, image_score=graph.image_score, num_folds=len(parts), units=units
    )
    scores = [score for score, _ in results]
    return _apply(graph, calibration), dict(zip(positions, scores, strict=True))


def _apply(graph: ScoringGraph, calibration: Calibration) -> Calibration:
    graph.image_threshold.fill_(calibration.image_threshold)
    graph.pixel_threshold.fill_(calibration.pixel_threshold)
    return calibration


def set_thresholds(
    graph: ScoringGraph,
    inputs: TrainingData,
    config: RunConfig,
    device: torch.device,
    progress: Progress = SILENT,
) -> Calibration:
    """Calibrate the graph on the held-out normal images."""
    detector = AnomalyDetector(TorchEngine(graph, device), {}, inputs.tiling)
    hashed = zip(inputs.calibration, inputs.hashes_of(inputs.calibration), strict=True)
    predictions = detector.predict(
        (read_as_hashed(record.path, sha256, inputs.tiling.pixel_range) for record, sha256 in hashed), ahead=AHEAD
    )
    progress.begin("thresholds", len(inputs.calibration), "photographs")
    results = ((p.score, p.anomaly_map) for p in counted(predictions, progress))
    image_score, units = config.model.image_score or "map", unit_numbers(inputs.calibration)
    return _apply(graph, calibrate(results, config.calibration, image_score=image_score, units=units))


def _scored(
    graph: InferenceGraph, images: TrainingImages, held_out: CrossFitEnergies, config: RunConfig, device: torch.device
) -> Iterator[ScoreAndMap]:
    """Score and map of every image that folds of an aggregated prior measured, as the graph would give them.

    The guided head of an s variant has seen most of the images, and its map is in the graph's: only those that it has
    not seen get a map. C of a w variant has seen all of them. What no map and no score reads is not encoded again.
    """
    normal, has_classifier = images.normal, graph.model.classifier is not None
    is_unseen = unseen_by_guided_head(images, config, held_out)
    for i, position in enumerate(held_out.images):
        has_map = config.model.supervision != "s" or bool(is_unseen[position])
        with torch.inference_mode():
            energy = graph.model.energy_of(held_out.energies.of(slice(i, i + 1)))
            is_encoded = graph.score_reads_image or (has_classifier and has_map)
            image = image_batch(normal, held_out.images[i : i + 1], device) if is_encoded else None
            latent = None if image is None else graph.model.encode(image)
            if not has_map:
                yield float(graph.image_score_of(latent, energy, anomaly_map=None, images=image)), None
                continue
            output = graph.score_latent(latent, energy, images=image)
        yield float(output.score), output.anomaly_map[0].cpu().numpy()


def score_folds(
    graph: InferenceGraph,
    images: TrainingImages,
    parts: Sequence[Sequence[int]],
    config: RunConfig,
    progress: Progress = SILENT,
) -> Iterator[ScoreAndMap]:
    """(score, anomaly map) of every normal image, from a latent fitted on the other folds (cross-conformal, Vovk 2015).

    The graph itself is left as it is. Its encoder is shared: one that was trained on these images has
    seen them, so these scores are a little too low then; a frozen one has not.
    """
    device = next(graph.parameters()).device
    progress.begin("thresholds", len(parts), "folds")
    for part in counted(parts, progress):
        held = np.array(part, dtype=np.intp)
        rest = np.setdiff1d(np.arange(images.num_normal), held)
        fold = copy.deepcopy(graph)
        others = np.concatenate([images.normal[rest], images.anomalous])
        photographs = None if images.photographs is None else _counted_from_0(images.photographs[rest])
        seen = TrainingImages(others, len(rest), photographs, _counted_from_0(images.unit_of[rest]))
        fit_whitened(fold.model, seen, config, device=device)
        for batch in image_batches(images.normal[held], device):
            with torch.inference_mode():
                output = fold.score_images(batch)
            yield from zip(output.score.tolist(), output.anomaly_map.cpu().numpy(), strict=True)


def _counted_from_0(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    counted: NDArray[np.intp] = np.unique(numbers, return_inverse=True)[1]
    return counted
