"""What loads models for a list of images, here or in a worker: functions that go to other machines by name."""

from importlib.util import find_spec
from pathlib import Path

from cavga.errors import MissingExtraError
from cavga.inference.detector import AnomalyDetector
from cavga.scale.score_lists import OneModel, Scorer


def one_model(model: str | Path, device: str, runs_code: bool = False) -> OneModel:
    """A scorer of the model in a run folder or an exported file."""
    return OneModel(AnomalyDetector.load(model, device=device, runs_code=runs_code))


def routed_models(runs: Path, device: str) -> Scorer:
    """A scorer of the models of many categories; raises MissingExtraError without torch."""
    if find_spec("torch") is None:
        raise MissingExtraError("--models takes torch: pip install 'cavga[train]'")
    from cavga.scale.routed_models import RoutedModels

    return RoutedModels(runs, device)
