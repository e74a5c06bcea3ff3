"""Odd photographs among the good ones are found by models that had not seen them, and left out when asked."""

import json

import numpy as np
import pytest

import cavga
from cavga.config.presets import make_config
from cavga.errors import UsageError
from cavga.training.suspicious import far_out
from tests.conftest import run_command, save_image, texture


def config(**data):
    settings = {"encoder": "efficientnet_lite0", "variant": "r-u"}
    return make_config("recommended", {"model": settings, "data": {"image_size": (64, 64), **data}})


@pytest.fixture
def photographs(tmp_path):
    """Forty of one surface, and one that is no surface."""
    for i in range(40):
        save_image(tmp_path / f"photos/{i:02}.png", texture(i))
    odd = np.zeros((64, 64, 3), dtype=np.uint8)
    odd[::8, :, 0] = odd[:, ::8, 1] = 255
    save_image(tmp_path / "photos/odd.png", odd)
    return tmp_path / "photos"


def test_far_out_is_three_interquartile_ranges_above_the_upper_quartile():
    scores = [*range(1, 101), 224, 225, 226]
    lower, upper = np.quantile(scores, [0.25, 0.75])
    assert far_out(scores).tolist() == [score > upper + 3 * (upper - lower) for score in scores]
    assert far_out([*range(101), 1000]).sum() == 1
    assert not far_out(np.ones(5)).any()


def test_an_odd_photograph_is_left_out_named_and_recorded(photographs, tmp_path, capsys):
    code, out, err = run_command(
        capsys, "train", photographs, "--output", tmp_path / "run", "--encoder", "efficientnet_lite0",
        "--variant", "r-u", "--image-size", 64, "--no-export", "--drop-suspicious",
    )  # fmt: skip
    assert code == 0, err
    assert "left out, because they score far above the others: odd.png" in err
    assert "good images left out because they score far above the others: odd.png" in out
    model = json.loads((tmp_path / "run/model.json").read_text())
    dropped = model["provenance"]["dropped"]
    assert dropped[0] == "odd.png"
    assert len(dropped) <= 4  # a few of forty so small ones are far out too
    assert model["provenance"]["train"] == 41 - len(dropped)
    assert model["config"]["data"]["drop_suspicious"]
    assert "odd.png" not in (tmp_path / "run/manifest.csv").read_text()


def test_without_the_flag_it_stays_and_is_the_first_that_training_names(photographs, tmp_path):
    run = cavga.train(photographs, tmp_path / "run", config(), with_export=False)
    model = json.loads((run / "model.json").read_text())
    assert model["suspicious_training_images"][0]["path"] == "odd.png"
    assert model["provenance"]["train"] == 41
    assert "dropped" not in model["provenance"]


def test_where_no_folds_judge_it_is_refused_before_anything_is_written(photographs, tmp_path):
    trained = make_config(
        "recommended", {"model": {"variant": "d-u", "weights": "none"}}, {"data": {"drop_suspicious": True}}
    )
    with pytest.raises(UsageError, match="--drop-suspicious"):
        cavga.train(photographs, tmp_path / "run", trained)
    assert not (tmp_path / "run/config.toml").exists()
