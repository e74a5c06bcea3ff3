import json

import pytest

import cavga
from cavga.config.presets import make_config
from cavga.config.schema import as_dict
from cavga.rendering.scale import has_log_odds
from cavga.runs.map_unit import DEVIATIONS, LOG_ODDS, MAP_UNIT_KEY, map_unit_of


def test_a_new_run_states_it_and_nothing_else_is_read(run_folder):
    description = json.loads((run_folder / "model.json").read_text())
    assert description[MAP_UNIT_KEY] == DEVIATIONS
    assert map_unit_of({MAP_UNIT_KEY: LOG_ODDS, "config": None}) == LOG_ODDS
    assert not has_log_odds(cavga.AnomalyDetector.load_in_torch(run_folder, device="cpu"))


@pytest.mark.parametrize(
    ("variant", "weights", "unit"),
    [
        ("r-s", "none", LOG_ODDS),
        ("d-s", "none", LOG_ODDS),
        ("r-s", "imagenet", DEVIATIONS),
        ("r-w", "none", DEVIATIONS),
    ],
)
def test_an_older_run_says_it_by_its_settings(variant, weights, unit):
    config = make_config("recommended", {"model": {"variant": variant, "weights": weights}})
    assert map_unit_of({"config": as_dict(config)}) == unit


def test_a_baseline_has_no_settings():
    assert map_unit_of({"variant": "padim"}) == DEVIATIONS
