import numpy as np

from cavga.rendering.html import data_uri, legend
from cavga.rendering.scale import MapScale
from tests.rendering.test_heatmaps import ONE


def test_a_data_uri_is_a_picture():
    assert data_uri(np.zeros((4, 4, 3), dtype=np.uint8)).startswith("data:image/jpeg;base64,/9j/")


def test_the_legend_gives_the_scale_in_numbers():
    assert ">0<" in legend(MapScale(0.25, 0.25))
    assert "0.25 = threshold" in legend(MapScale(0.25, 0.25))
    assert "0.5 and above" in legend(MapScale(0.25, 0.25))
    assert "-4 and below" in legend(MapScale(-1.5, 2.5))
    assert "= threshold" not in legend(MapScale(-1.5, 2.5, is_known=False))
    assert ("marked by" in legend(ONE), "marked by" in legend(MapScale(1.0, 1.0, is_known=False))) == (True, False)


def test_the_legend_names_dashed_marks_only_where_there_are_any():
    assert "below the image threshold" in legend(ONE, is_any_below=True)
    assert "below the image threshold" not in legend(ONE)
