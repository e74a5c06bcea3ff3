import shutil
from pathlib import Path

import numpy as np
import pytest

from cavga.config.presets import make_config
from tests.conftest import save_image, texture


def marking_config(**model):
    """A run with an aggregated prior that trains in a second."""
    return make_config(
        "recommended",
        {
            "data": {"image_size": (32, 32)},
            "model": {"variant": "r-u", "weights": "none", "prior": "aggregated", "latent_channels": 8, **model},
            "training": {"epochs": 1, "batch_size": 5, "device": "cpu"},
            "calibration": {"false_alarm_rate": 0.1},
        },
    )


@pytest.fixture(scope="session")
def trained(category: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that can be refitted, shared: copy it before changing it."""
    from cavga.training.train import train

    return train(category, tmp_path_factory.mktemp("runs") / "marks", marking_config())


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """One of a test's own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with bad/ (a white square) and good/ (textures), none of which a run has seen."""
    square = np.zeros((48, 48), dtype=np.uint8)
    square[12:24, 8:20] = 255
    for i in range(4):
        save_image(tmp_path / f"photographs/bad/{i}.png", np.maximum(texture(500 + i), square))
        save_image(tmp_path / f"photographs/good/{i}.png", texture(600 + i))
    return tmp_path / "photographs"
