"""`cavga suggest`: which unlabelled photographs to mark next: near the threshold, and unlike one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.data.dataset import image_batch
from cavga.data.manifest import sha256_of
from cavga.errors import DataError, UsageError
from cavga.images.decode import BATCH_SIZE
from cavga.images.walk import images_of
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph
from cavga.inference.prepare import FailedImage, prepare
from cavga.inference.torch_engine import TorchEngine
from cavga.model.arithmetic import exact_float32
from cavga.model.coreset import greedy_coreset
from cavga.model.marks_head import Features, pooled
from cavga.progress import SILENT, Progress, counted
from cavga.runs.model_json import require_features, used_images
from cavga.shapes import Scores

POOL_FACTOR = 4  # times as many photographs near the threshold as are suggested, from which those are chosen


@dataclass(frozen=True)
class Suggestion:
    """A photograph worth marking."""

    path: str
    score: float
    is_anomalous: bool


@dataclass(frozen=True)
class Suggested:
    """What to mark next, most different first, and the photographs that cannot be read."""

    suggestions: tuple[Suggestion, ...]
    num_seen: int
    failed: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Suggested({len(self.suggestions)} of {self.num_seen})"


def suggest_marks(
    run: str | Path, photographs: Sequence[Path], *, count: int = 10, device: str = "auto", progress: Progress = SILENT
) -> Suggested:
    """Choose `count` photographs of files and folders; those that the run has seen, or that are marked, are left out.

    Raises UsageError for a count below 1, ModelFileError for a run without cached features, DataError where no
    photograph is left.
    """
    where = Path(run)
    if count < 1:
        raise UsageError(f"{count} suggestions: expected at least 1")
    detector = AnomalyDetector.load_in_torch(where, device=device)
    require_features(where, detector.description)
    known = used_images(where, detector.description)
    paths = [path for path in images_of(photographs) if sha256_of(path) not in known]
    kept, scores, features, failed = _read(detector, paths, progress)
    if not kept:
        raise DataError(f"none of the {len(paths) or 'given'} photographs is new and can be read: nothing to suggest")
    chosen = choose_unlike(scores, features, detector.image_threshold, count)
    return Suggested(
        tuple(Suggestion(str(kept[i]), float(scores[i]), bool(scores[i] >= detector.image_threshold)) for i in chosen),
        len(kept),
        tuple(failed),
    )


def choose_unlike(scores: NDArray[np.float32], features: Features, threshold: float, count: int) -> list[int]:
    """Positions of `count` images: the nearest to the threshold, then always the one least like those before it.

    They are chosen among POOL_FACTOR times as many that are nearest to the threshold.
    """
    near = np.argsort(np.abs(scores - threshold), kind="stable")[: POOL_FACTOR * count]
    points = features[torch.from_numpy(near)]
    points = (points - points.mean(dim=0)) / points.std(dim=0, correction=0).clamp_min(1e-6)
    order = greedy_coreset(points, min(count, len(near)), first=0)
    return [int(near[i]) for i in order]


def _read(
    detector: AnomalyDetector, paths: Sequence[Path], progress: Progress
) -> tuple[list[Path], NDArray[np.float32], Features, list[str]]:
    """Those that can be read, their scores and pooled features, and what is wrong with the others."""
    engine = detector.engine
    assert isinstance(engine, TorchEngine)
    assert isinstance(engine.graph, InferenceGraph)
    kept: list[Path] = []
    failed: list[str] = []
    scores: list[float] = []
    features: list[Features] = []
    progress.begin("scoring", len(paths), "photographs")
    for start in range(0, len(paths), BATCH_SIZE):
        some = paths[start : start + BATCH_SIZE]
        ready = [prepare(path, engine, detector.tiling) for path in counted(some, progress)]
        failed += [item.error for item in ready if isinstance(item, FailedImage)]
        good = [item.photograph for item in ready if not isinstance(item, FailedImage)]
        kept += [path for path, item in zip(some, ready, strict=True) if not isinstance(item, FailedImage)]
        if good:
            found = _scores_and_features(engine.graph, np.stack(good), engine.device)
            scores += found[0].tolist()
            features.append(found[1])
    return kept, np.array(scores, dtype=np.float32), torch.cat(features) if features else torch.zeros(0, 1), failed


def _scores_and_features(
    graph: InferenceGraph, images: NDArray[np.uint8], device: torch.device
) -> tuple[Scores, Features]:
    """Of images at the input size, each encoded once."""
    with torch.inference_mode(), exact_float32():
        batch = image_batch(images, np.arange(len(images)), device)
        latent = graph.model.encode(batch)
        score = graph.score_latent(latent, images=batch).score
        return score.cpu(), pooled(latent.mu, latent.mu[:, 0]).cpu()
