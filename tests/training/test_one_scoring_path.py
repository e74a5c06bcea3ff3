"""What thresholds are set on is what the graph says: its image score and its map, whatever is chosen for them."""

import json

import numpy as np
import pytest

import cavga
from cavga.calibration.thresholds import calibrate
from cavga.config.presets import make_config
from tests.conftest import write_category

FEW = {"data": {"image_size": (32, 32)}, "training": {"epochs": 1, "device": "cpu"},
       "model": {"weights": "none", "train_encoder": False, "latent_channels": 8, "prior": "aggregated"}}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_category(tmp_path_factory.mktemp("data") / "few", num_train=12, num_labelled=2)


def test_the_threshold_of_the_residual_is_one_of_residuals(data, tmp_path):
    config = make_config("recommended", FEW, {"model": {"variant": "r-u", "image_score": "residual"}})
    run = cavga.train(data, tmp_path / "run", config)
    calibration = json.loads((run / "model.json").read_text())["calibration"]
    detector = cavga.AnomalyDetector.load_in_torch(run, device="cpu")
    # Neither encoder nor decoder depends on the folds of the prior: a training image's residual is what it was.
    scores = sorted(prediction.score for prediction in detector.predict(data / "train/good"))
    assert calibration["scores"] == pytest.approx(scores, rel=1e-4)
    assert calibration["image_threshold"] == pytest.approx(scores[-1], rel=1e-4)


def test_the_mask_threshold_of_w_counts_what_the_classifier_adds(data, tmp_path, monkeypatch):
    seen = []

    def spy(results, *args, **options):
        results = list(results)
        seen.append([float(anomaly_map.max()) for _, anomaly_map in results])
        return calibrate(results, *args, **options)

    monkeypatch.setattr("cavga.training.fit_thresholds.calibrate", spy)
    for weight in (0.0, 0.3):
        monkeypatch.setattr("cavga.model.classifiers.CAM_WEIGHT", weight)
        cavga.train(data, tmp_path / f"run-{weight}", make_config("recommended", FEW, {"model": {"variant": "r-w"}}))
    assert len(seen[0]) == len(seen[1]) == 12
    assert not np.allclose(seen[0], seen[1], rtol=1e-3)
