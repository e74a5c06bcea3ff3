"""CAVGA: learns what normal looks like from photographs, then says whether a new one is anomalous and where.

Importing this loads no torch; the names below load what they need when they are first used.
"""

from typing import TYPE_CHECKING, Any

from cavga._version import __version__

if TYPE_CHECKING:
    from cavga.config.presets import make_config
    from cavga.config.schema import RunConfig
    from cavga.errors import CavgaError
    from cavga.evaluation.evaluate import evaluate
    from cavga.evaluation.self_test import self_test
    from cavga.inference.detector import AnomalyDetector
    from cavga.inference.prediction import Prediction
    from cavga.training.train import train

_HOMES = {
    "AnomalyDetector": "cavga.inference.detector",
    "CavgaError": "cavga.errors",
    "Prediction": "cavga.inference.prediction",
    "RunConfig": "cavga.config.schema",
    "evaluate": "cavga.evaluation.evaluate",
    "make_config": "cavga.config.presets",
    "self_test": "cavga.evaluation.self_test",
    "train": "cavga.training.train",
}

__all__ = [
    "AnomalyDetector",
    "CavgaError",
    "Prediction",
    "RunConfig",
    "__version__",
    "evaluate",
    "make_config",
    "self_test",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cavga' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name == "torch":
            from cavga.errors import MissingExtraError

            raise MissingExtraError(f"cavga.{name} needs torch: pip install 'cavga[train]'") from error
        raise
