"""CAVGA: learns what normal looks like from photographs, then says whether a new one is anomalous and where.

Importing this loads no torch; the names below load what they need when they are first used.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from cavga._version import __version__

if _TYPE_CHECKING:
    from cavga.config.presets import make_config
    from cavga.config.schema import RunConfig
    from cavga.data.checked import check
    from cavga.errors import CavgaError
    from cavga.evaluation.evaluate import evaluate
    from cavga.evaluation.self_test import self_test
    from cavga.exporting.packages import export_as as export
    from cavga.inference.detector import AnomalyDetector
    from cavga.inference.prediction import Prediction
    from cavga.library import calibrate, compare, drift, mark, profile, refit, suggest, train, withdraw
    from cavga.marking.versions import use_version, versions_of

_HOMES = {
    "AnomalyDetector": "cavga.inference.detector",
    "CavgaError": "cavga.errors",
    "Prediction": "cavga.inference.prediction",
    "RunConfig": "cavga.config.schema",
    "calibrate": "cavga.library",
    "check": "cavga.data.checked",
    "compare": "cavga.library",
    "drift": "cavga.library",
    "evaluate": "cavga.evaluation.evaluate",
    "export": "cavga.exporting.packages",
    "make_config": "cavga.config.presets",
    "mark": "cavga.library",
    "profile": "cavga.library",
    "refit": "cavga.library",
    "self_test": "cavga.evaluation.self_test",
    "suggest": "cavga.library",
    "train": "cavga.library",
    "use_version": "cavga.marking.versions",
    "versions_of": "cavga.marking.versions",
    "withdraw": "cavga.library",
}
_NAMES_THERE = {"export": "export_as"}  # where it is not the same

__all__ = [
    "AnomalyDetector",
    "CavgaError",
    "Prediction",
    "RunConfig",
    "__version__",
    "calibrate",
    "check",
    "compare",
    "drift",
    "evaluate",
    "export",
    "make_config",
    "mark",
    "profile",
    "refit",
    "self_test",
    "suggest",
    "train",
    "use_version",
    "versions_of",
    "withdraw",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'cavga' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_HOMES[name]), _NAMES_THERE.get(name, name))
    except ModuleNotFoundError as error:
        if error.name == "torch":
            from cavga.errors import MissingExtraError

            raise MissingExtraError(f"cavga.{name} needs torch: pip install 'cavga[train]'") from error
        raise
