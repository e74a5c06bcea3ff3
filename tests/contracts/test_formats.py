"""A small model of every format version that was ever released: each is read for ever."""

import json
from pathlib import Path

import numpy as np
import pytest

import cavga
from cavga.runs.model_json import FORMAT_VERSION

MODELS = sorted((Path(__file__).parents[1] / "models").glob("format-*"))


def test_there_is_one_of_every_version():
    assert [model.name for model in MODELS] == [f"format-{version}" for version in range(1, FORMAT_VERSION + 1)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("engine", ["run folder in torch", "run folder", "exported file"])
def test_it_still_says_what_it_said(model, engine):
    expected = json.loads((model / "expected.json").read_text())
    detector = {
        "run folder in torch": lambda: cavga.AnomalyDetector.load_in_torch(model, device="cpu"),
        "run folder": lambda: cavga.AnomalyDetector.load(model, device="cpu"),
        "exported file": lambda: cavga.AnomalyDetector.load(model / "model.onnx", device="cpu"),
    }[engine]()
    photograph = np.random.default_rng(expected["seed"]).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    (prediction,) = detector.predict(photograph)
    assert prediction.score == pytest.approx(expected["score"], rel=1e-4)
    assert prediction.threshold == pytest.approx(expected["threshold"], rel=1e-6)
    assert prediction.anomaly_map.max() == pytest.approx(expected["map_max"], rel=1e-4)
    assert prediction.mask.sum() == expected["masked"]
