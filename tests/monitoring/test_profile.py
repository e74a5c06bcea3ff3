import json
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest

from cavga import AnomalyDetector
from cavga.errors import DataError
from cavga.images.resize import resized
from cavga.images.roi import Roi
from cavga.images.tiling import Tiling
from cavga.inference.engine import EngineOutput
from cavga.monitoring.profile import STEPS, noise_size, profile
from tests.conftest import cavga, run_command, save_image, texture


def test_an_exported_model_on_photographs(exported_model, category, tmp_path):
    done = cavga(
        "profile", exported_model, category / "test/good", "--batch-sizes", "4,1", "--repeats", 5, "--json",
        "--output", tmp_path / "out/profile.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "out/profile.json").read_text())
    assert list(result["milliseconds"]) == [*STEPS, "total"]
    assert all(0 < step["p50"] <= step["p95"] <= step["p99"] for step in result["milliseconds"].values())
    assert [batch["batch_size"] for batch in result["batches"]] == [1, 4]
    assert (result["photographs_timed"], result["images"], result["is_noise"]) == (5, 4, False)
    machine = result["machine"]
    assert (machine["engine"], machine["image_size"], machine["threads"]) == ("onnx", [32, 32], None)
    assert machine["cores"] >= 1
    assert {"processor", "python", "numpy", "onnxruntime", "cavga"} <= set(machine)


def test_without_photographs_it_makes_some_and_says_so(run_folder, capsys):
    code, out, _ = run_command(capsys, "profile", run_folder, "--repeats", 1, "--batch-sizes", "2", "--device", "cpu")
    assert code == 0
    assert "4 photographs made of noise, 1024 x 1024 px" in out
    assert "engine torch" in out
    assert "batch of 2" in out


def test_time_is_charged_to_the_step_that_takes_it(run_folder, category):
    detector = AnomalyDetector.load(run_folder, device="cpu")
    score = detector.engine.score

    def slow(photographs):
        time.sleep(0.03 * len(photographs))
        return score(photographs)

    detector.engine.score = slow
    measured = profile(detector, sorted((category / "test/good").iterdir()), batch_sizes=(1, 4), repeats=3)
    steps = measured.steps()
    assert steps["forward"]["p50"] > 30
    assert max(steps[name]["p50"] for name in STEPS if name != "forward") < 30
    assert steps["total"]["p50"] > steps["forward"]["p50"]
    assert measured.batches[1].milliseconds > 120
    assert measured.batches[1].images_per_second < 1 / 0.03


class Slow:
    """An engine that takes a while for every image, and longer for every batch."""

    image_size = (16, 16)
    image_threshold = pixel_threshold = 1.0

    def __init__(self):
        self.batches = []

    def resize(self, tile):
        return resized(tile, self.image_size)

    def score(self, photographs):
        self.batches.append(len(photographs))
        time.sleep(0.002 * len(photographs))
        maps = np.zeros((len(photographs), 16, 16), np.float32)
        return EngineOutput(np.zeros(len(photographs), np.float32), maps, maps >= 1)


@pytest.mark.parametrize(
    ("tiling", "tiles"),
    [
        (Tiling((16, 16), tile=32), [16, 9]),
        (Tiling((16, 16), tile=32, roi=Roi(8, 8, 60, 40)), [6]),
        (Tiling((16, 16), roi=Roi(8, 8, 60, 40)), [1]),
    ],
)
def test_what_is_timed_is_what_prediction_does_with_tiles_and_regions(tiling, tiles, tmp_path):
    path = save_image(tmp_path / "large.png", texture(1, size=128))
    engine = Slow()
    detector = AnomalyDetector(engine, {"variant": "r-u"}, tiling)
    next(detector.predict(path))
    assert engine.batches == tiles
    engine.batches.clear()
    measured = profile(detector, [path], batch_sizes=(2,), repeats=2)
    assert engine.batches[: len(tiles)] == tiles
    assert measured.as_dict()["pieces_per_photograph"] == sum(tiles)
    assert measured.steps()["forward"]["p50"] >= 2 * sum(tiles)
    assert measured.steps()["postprocess"]["p50"] < measured.steps()["forward"]["p50"] + 20
    height, width = noise_size(tiling)
    tiling.check_fit((height, width), "noise")
    with pytest.raises(DataError, match="region of interest") if tiling.roi else nullcontext():
        small = save_image(tmp_path / "small.png", texture(1, size=40))
        profile(detector, [small], batch_sizes=(1,), repeats=1)


def test_noise_is_of_the_size_of_the_mask():
    tiling = Tiling((16, 16), roi=Roi(0, 0, 30, 20, np.ones((20, 30), np.bool_)))
    assert noise_size(tiling) == (20, 30)


def test_peak_memory_is_in_mebibytes():
    # In a process of its own: this one may have held far more before.
    code = (
        "import numpy as np; from cavga.monitoring.profile import peak_mebibytes; before = peak_mebibytes(); "
        "held = np.ones(2**25); print(before, peak_mebibytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 20 < before < 1000
    assert after - before == pytest.approx(256, abs=40)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--batch-sizes", "1,x"), 2, "whole numbers"),
        (("--batch-sizes", "0"), 2, "whole numbers"),
        (("--repeats", "0"), 2, "whole numbers"),
        (("nothing.png",), 3, "no such image"),
    ],
)
def test_what_cannot_be_measured(run_folder, capsys, arguments, code, message):
    found, _, err = run_command(capsys, "profile", run_folder, *arguments)
    assert (found, message in err, len(err.splitlines())) == (code, True, 1)


def test_an_output_that_is_a_folder(run_folder, capsys, tmp_path):
    code, _, err = run_command(capsys, "profile", run_folder, "--output", tmp_path)
    assert (code, "expected a file" in err) == (2, True)
