import numpy as np

from cavga.rendering.heatmaps import HEAT_COLOURS, MODEL_COLOUR, heatmap, overlay
from cavga.rendering.scale import MapScale, scale_of_maps
from tests.rendering.test_heatmaps import HALF, has_colour, map_of, square_map


def test_the_scale_runs_from_0_to_twice_the_threshold_and_is_clipped():
    picture = heatmap(map_of([-1.0, 0.0, 0.5, 1.0, 7.0]), HALF)
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 5, 3)
    assert tuple(picture[0, 0]) == tuple(picture[0, 1]) == HEAT_COLOURS[0]
    assert np.abs(picture[0, 2].astype(int) - HEAT_COLOURS[4]).max() <= 1  # the threshold is half way
    assert tuple(picture[0, 3]) == tuple(picture[0, 4]) == HEAT_COLOURS[-1]


def test_a_scale_may_lie_below_0():
    picture = heatmap(map_of([-9.0, -4.0, -1.5, 1.0, 2.0]), MapScale(-1.5, 2.5))
    assert tuple(picture[0, 0]) == tuple(picture[0, 1]) == HEAT_COLOURS[0]
    assert np.abs(picture[0, 2].astype(int) - HEAT_COLOURS[4]).max() <= 1
    assert tuple(picture[0, 3]) == tuple(picture[0, 4]) == HEAT_COLOURS[-1]
    photograph = np.full((40, 40, 3), 128, dtype=np.uint8)
    picture = overlay(photograph, square_map(low=-2.8, high=-1.0), MapScale(-1.5, 2.5), is_anomalous=True)
    assert has_colour(picture, MODEL_COLOUR)[9:21, 9:21].sum() == 40
    assert (picture[30:, 30:] == 128).all()


def test_a_faulty_value_does_not_look_normal():
    assert tuple(heatmap(map_of([float("nan"), 0.0]), HALF)[0, 0]) == HEAT_COLOURS[-1]


def test_maps_of_an_unknown_model_have_one_scale_of_all_that_are_shown():
    maps = [map_of([-3.0, 1.0]), map_of([0.0, 5.0])]
    assert scale_of_maps(maps, 0.5) == HALF
    assert scale_of_maps(maps, -1.0) == MapScale(-1.0, 6.0)
    assert scale_of_maps(maps, None) == MapScale(1.0, 4.0, is_known=False)
    assert scale_of_maps([], None).reach > 0
    assert scale_of_maps([map_of([2.0, 2.0])], None).reach > 0
