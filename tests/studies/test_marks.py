import numpy as np
import pytest
import torch

from docs.generate.marks_figure import marks_figure
from studies.marks.lamp import under_another_lamp
from studies.marks.unmarked import METHODS


def test_another_lamp_is_brighter_warmer_and_less_sharp():
    grey = np.full((16, 16, 3), 100, dtype=np.uint8)
    red, green, blue = under_another_lamp(grey)[8, 8]
    assert red > green > blue > 100
    edge = grey.copy()
    edge[:, 8:] = 0
    assert under_another_lamp(edge)[8, 8, 1] > 0


@pytest.mark.parametrize("name", METHODS)
def test_what_cannot_use_marks_scores_an_odd_patch_highest(name):
    z = torch.randn(12, 128, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    odd = z[:3].clone()
    odd[1, :, 4, 4] += 6
    scores = METHODS[name](z[3:], 16)(odd)
    assert scores.argmax() == 1
    assert scores.shape == (3,)


def test_the_figure_has_a_panel_a_set_and_lines_within_it():
    drawn = marks_figure()
    assert drawn.count("false alarms") == 7  # and once in the legend
    assert "nan" not in drawn
