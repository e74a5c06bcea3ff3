import math

import numpy as np
import pytest

from studies.grey_level import entropy, row_of
from tests.conftest import save_image


def test_the_entropy_of_grey_is_ln_2_and_of_black_and_white_0():
    assert entropy(np.array([0.0, 0.5, 1.0])) == pytest.approx([0.0, math.log(2), 0.0], abs=1e-9)


def test_one_level_costs_more_than_each_images_own_and_that_more_than_an_exact_reconstruction(tmp_path):
    for name, (left, right) in {"a": (51, 51), "b": (102, 204)}.items():
        pixels = np.full((32, 32), left, dtype=np.uint8)
        pixels[:, 16:] = right
        save_image(tmp_path / f"parts/train/good/{name}.png", pixels)
    save_image(tmp_path / "parts/test/good/c.png", np.full((32, 32), 9, dtype=np.uint8))
    row = row_of(tmp_path, "parts", 32)
    assert row["images"] == 2
    expected = [entropy(np.array(p)).mean() for p in ([0.4], [0.2, 0.6], [0.2, 0.2, 0.4, 0.8])]
    assert [row[name] for name in ("one_level", "own_level", "exact")] == pytest.approx(expected, abs=1e-4)
