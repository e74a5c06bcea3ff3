"""Models with tiles and with a region of interest: what a server answers is what `cavga predict` writes."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cavga.config.presets import make_config
from cavga.images.resize import resize_map
from tests.conftest import run_command, save_image, texture
from tests.service.running import running

HEIGHT, WIDTH = 72, 120
KINDS = {"tile": {"tile": 48}, "roi": {"roi": "8,8,96,56"}, "tile and roi": {"tile": 40, "roi": "8,8,96,56"}}


def sheet(seed: int) -> np.ndarray:
    """A photograph larger than a tile; from seed 100 on with a bright square."""
    pixels = np.concatenate([np.concatenate([texture(seed + 7 * i + j) for j in range(3)], 1) for i in range(2)])
    pixels = pixels[:HEIGHT, :WIDTH].copy()
    if seed >= 100:
        pixels[30:40, 60:74] = 250
    return pixels


def config_of(**data):
    return make_config(
        "recommended",
        {
            "data": {"image_size": (32, 32), **data},
            "model": {"variant": "d-u", "weights": "none", "latent_channels": 8, "decoder_width": 8},
            "training": {"epochs": 1, "batch_size": 8, "device": "cpu"},
        },
    )


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    for seed in (90, 100, 101):
        save_image(folder / f"test/{seed}.png", sheet(seed))
    for seed in range(6):
        save_image(folder / f"good/{seed}.png", sheet(seed))
    return folder


@pytest.mark.usefixtures("few_synthetic")
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_what_predict_writes(photographs, tmp_path, capsys, kind):
    from cavga.training.train import train

    run = train(photographs / "good", tmp_path / "run", config_of(**KINDS[kind]))
    output = tmp_path / "out"
    code, _, _ = run_command(capsys, "predict", run, photographs / "test", "--output", output, "--maps", "float32")
    lines = {line["path"]: line for line in map(json.loads, (output / "predictions.jsonl").read_text().splitlines())}
    assert (code, len(lines)) == (0, 3)
    with running({"part": run}) as server:
        assert server.shelf.loaded("part").detector.tiling.tile == KINDS[kind].get("tile")
        for path, line in lines.items():
            answer = server.predict((photographs / "test" / path).read_bytes(), where="/predict?map=npy").json()
            assert answer["score"] == pytest.approx(line["score"], rel=1e-5)
            assert answer["regions"] == line["regions"]
            assert (answer["is_anomalous"], answer["image_size"]) == (line["is_anomalous"], [HEIGHT, WIDTH])
            given = np.load(BytesIO(base64.b64decode(answer["map_npy"])))
            np.testing.assert_allclose(
                resize_map(given, (HEIGHT, WIDTH)), np.asarray(Image.open(output / line["map"])), rtol=1e-5
            )
