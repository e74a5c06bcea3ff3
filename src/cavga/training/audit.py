"""What a new model says of its own training images: odd ones among the good, and whether C tells the bad ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from cavga.calibration.thresholds import Calibration, decision_warning
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import ScoringGraph
from cavga.inference.torch_engine import TorchEngine
from cavga.progress import SILENT, Progress, counted
from cavga.training.inputs import TrainingData

NUM_SUSPICIOUS = 5  # training images named for a second look

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class TrainingAudit:
    """`suspicious` are the good training images with the highest scores; the counts say what is predicted anomalous."""

    suspicious: list[dict[str, Any]]
    num_good: int
    good_called_anomalous: int
    num_bad: int
    bad_called_anomalous: int

    def as_dict(self) -> dict[str, Any]:
        """The part of model.json it goes into."""
        counts = {
            key: getattr(self, key) for key in ("num_good", "good_called_anomalous", "num_bad", "bad_called_anomalous")
        }
        return {"suspicious_training_images": self.suspicious, "training_decisions": counts}


def check_training_images(
    graph: ScoringGraph,
    inputs: TrainingData,
    calibration: Calibration,
    device: torch.device,
    *,
    scores: Mapping[int, float],
    progress: Progress = SILENT,
) -> TrainingAudit:
    """Score the training images with the finished model, and log what is worth knowing.

    `scores` are those of good images, by position, by models that had not seen them; where there are any they
    count: a finished model remembers its own.
    """
    detector = AnomalyDetector(TorchEngine(graph, device), {}, inputs.tiling)
    # Two numbers a prediction: the maps of thousands of images are not kept.
    if scores:
        good = [(score, score >= calibration.image_threshold) for score in scores.values()]
        paths = [inputs.train[position].relative_path for position in scores]
    else:
        progress.begin("training images", len(inputs.train), "images")
        predictions = detector.predict([record.path for record in inputs.train])
        good = [(p.score, p.is_anomalous) for p in counted(predictions, progress)]
        paths = [record.relative_path for record in inputs.train]
    highest = sorted(((score, path) for (score, _), path in zip(good, paths, strict=True)), reverse=True)
    bad = [p.is_anomalous for p in detector.predict([record.path for record in inputs.anomalous])]
    check = TrainingAudit(
        suspicious=[{"path": path, "score": score} for score, path in highest[:NUM_SUSPICIOUS]],
        num_good=len(good),
        good_called_anomalous=sum(is_anomalous for _, is_anomalous in good),
        num_bad=len(bad),
        bad_called_anomalous=sum(bad),
    )
    logger.info("training images least like the others: %s", ", ".join(item["path"] for item in check.suspicious))
    warning = decision_warning(check.as_dict()["training_decisions"], calibration)
    if warning:
        logger.warning("%s", warning)
    return check
