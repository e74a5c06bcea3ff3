"""Small models of every format version that was ever released: each is read for ever, and says what it said.

`format-N` is of variant d-u. `format-N-default` is of the default kind: r-s, an aggregated prior and a patch classifier
on frozen features, which are a stem of random numbers in a file. Its larger weights are rounded, so that it is small.
"""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cavga
from cavga.config.backbones import BACKBONES
from cavga.images.decode import read_image
from cavga.runs.model_json import FORMAT_VERSION

MODELS = Path(__file__).parents[1] / "models"
NAMES = sorted(path.name for path in MODELS.iterdir())


def with_input(**changes):
    """The default backbone with another normalisation of its input."""
    return replace(BACKBONES["resnet18"], **changes)


# What acts at inference, and a value near it: the scores of the model that names it have to move.
ACTING = [
    ("format-1", "cavga.model.latent.LOG_OFFSET", 0.101),
    ("format-1", "cavga.inference.graph.TOP_SHARE", 0.02),
    ("format-1-default", "cavga.model.build.BACKBONES", {"resnet18": with_input(mean=(0.486, 0.456, 0.406))}),
    ("format-1-default", "cavga.model.build.BACKBONES", {"resnet18": with_input(std=(0.23, 0.224, 0.225))}),
    ("format-1-default", "cavga.model.classifiers.MAP_WEIGHT", 0.51),
    ("format-1-default", "cavga.model.classifiers.CONTEXT_PATCHES", 3),
    ("format-1-default", "cavga.model.prior.BLUR_REACH", 2),
]


@pytest.fixture
def unpacked(request, tmp_path):
    """A run folder of its own, and what it is expected to say of which photographs."""
    folder = shutil.copytree(MODELS / request.param, tmp_path / "run")
    if (folder / "weights.tar.xz").is_file():  # model and export hold the same tensors: packed as one they cost half
        with tarfile.open(folder / "weights.tar.xz") as packed:
            for member in packed:
                (folder / member.name).write_bytes(packed.extractfile(member).read())
    expected = json.loads((folder / "expected.json").read_text())
    if "seed" in expected:
        rng = np.random.default_rng(expected["seed"])
        return folder, [(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8), expected)]
    return folder, [(read_image(folder / name), values) for name, values in expected.items()]


def differences(detector, photographs):
    """Relative differences of what is frozen from what the detector says; of masks the number of pixels."""
    found = []
    for pixels, expected in photographs:
        (prediction,) = detector.predict(pixels)
        values = {
            "score": prediction.score, "threshold": prediction.threshold, "map_max": prediction.anomaly_map.max(),
        }  # fmt: skip
        found.append({name: abs(value / expected[name] - 1) for name, value in values.items()})
        found[-1]["masked"] = abs(int(prediction.mask.sum()) - expected["masked"])
    return found


def test_there_are_two_of_every_version():
    versions = range(1, FORMAT_VERSION + 1)
    assert sorted(f"format-{version}{kind}" for version in versions for kind in ("", "-default")) == NAMES


@pytest.mark.parametrize("unpacked", NAMES, indirect=True)
@pytest.mark.parametrize("engine", ["run folder in torch", "run folder", "exported file"])
def test_it_still_says_what_it_said(unpacked, engine):
    model, photographs = unpacked
    detector = {
        "run folder in torch": lambda: cavga.AnomalyDetector.load_in_torch(model, device="cpu"),
        "run folder": lambda: cavga.AnomalyDetector.load(model, device="cpu"),
        "exported file": lambda: cavga.AnomalyDetector.load(model / "model.onnx", device="cpu"),
    }[engine]()
    for difference in differences(detector, photographs):
        assert difference["score"] < 1e-4
        assert difference["threshold"] < 1e-6
        assert difference["map_max"] < 1e-4
        assert difference["masked"] == 0


@pytest.mark.parametrize(("unpacked", "constant", "value"), ACTING, indirect=["unpacked"])
def test_what_acts_at_inference_moves_it(unpacked, constant, value, monkeypatch):
    model, photographs = unpacked
    monkeypatch.setattr(constant, value)
    detector = cavga.AnomalyDetector.load_in_torch(model, device="cpu")
    found = differences(detector, photographs)
    assert max(max(difference["score"], difference["map_max"]) for difference in found) > 3e-4
