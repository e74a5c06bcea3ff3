"""`map_unit` of model.json: what the values of a model's anomaly map count in. No torch."""

from collections.abc import Mapping
from typing import Any

from cavga.config.presets import from_dict
from cavga.config.schema import ModelConfig
from cavga.config.variant import TrainingPlan

MAP_UNIT_KEY = "map_unit"
LOG_ODDS = "log_odds"  # of a classifier: no natural 0
DEVIATIONS = "deviations"  # how far from normal: 0 is as normal as can be


def map_unit(model: ModelConfig) -> str:
    """The unit of the map that a model of resolved settings gives."""
    return LOG_ODDS if model.plan is TrainingPlan.END_TO_END else DEVIATIONS


def map_unit_of(description: Mapping[str, Any]) -> str:
    """The unit that a description states; runs of versions before it was stated follow from their settings."""
    if MAP_UNIT_KEY in description:
        return str(description[MAP_UNIT_KEY])
    config = description.get("config")  # a baseline has none
    return DEVIATIONS if config is None else map_unit(from_dict(config).model)
