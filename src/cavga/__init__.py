"""CAVGA: learns what normal looks like from photographs, then says whether a new one is anomalous and where.

Importing this loads no torch; the names below load what they need when they are first used.
"""

from typing import TYPE_CHECKING, Any

from cavga._version import __version__

if TYPE_CHECKING:
    from cavga.config import RunConfig
    from cavga.detector import AnomalyDetector, Prediction
    from cavga.errors import CavgaError
    from cavga.evaluating import evaluate
    from cavga.pipeline import train
    from cavga.presets import make_config
    from cavga.self_testing import self_test

_HOMES = {
    "AnomalyDetector": "cavga.detector",
    "CavgaError": "cavga.errors",
    "Prediction": "cavga.detector",
    "RunConfig": "cavga.config",
    "evaluate": "cavga.evaluating",
    "make_config": "cavga.presets",
    "self_test": "cavga.self_testing",
    "train": "cavga.pipeline",
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
