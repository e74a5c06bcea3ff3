"""Pictures: the fixed scale, where lines and tints lie, sizes, and the histogram's geometry."""

import numpy as np
import pytest
from PIL import Image

from cavga.rendering.heatmaps import (
    BELOW_COLOUR,
    CASING_COLOUR,
    HEAT_COLOURS,
    MODEL_COLOUR,
    TRUTH_COLOUR,
    heatmap,
    marked,
    outer_line,
    outline,
    overlay,
    pair,
    panels,
)
from cavga.rendering.scale import MapScale

HALF, ONE = MapScale(0.5, 0.5), MapScale(1.0, 1.0)  # from 0 to twice the threshold


def map_of(*rows):
    return np.array(rows, dtype=np.float32)


def square_map(size=40, low=0.0, high=1.0):
    anomaly_map = np.full((size, size), low, dtype=np.float32)
    anomaly_map[10:20, 10:20] = high
    return anomaly_map


def has_colour(picture, colour):
    return (picture == np.array(colour)).all(axis=-1)


def luminance(colours):
    return np.asarray(colours, dtype=float) @ [0.2126, 0.7152, 0.0722]


def test_a_value_has_the_same_colour_whatever_else_is_in_the_image():
    alone, beside = heatmap(map_of([0.3, 0.1]), HALF), heatmap(map_of([0.3, 90.0]), HALF)
    np.testing.assert_array_equal(alone[0, 0], beside[0, 0])


def test_lightness_only_grows_along_the_scale():
    ramp = heatmap(np.linspace(0, 1, 256, dtype=np.float32)[None], HALF)[0]
    assert (np.diff(luminance(ramp)) >= 0).all()
    assert (np.diff(luminance(HEAT_COLOURS)) > 0).all()


def test_the_overlay_draws_a_line_at_the_threshold_and_leaves_the_rest_grey():
    photograph = np.full((40, 40, 3), (200, 100, 50), dtype=np.uint8)
    picture = overlay(photograph, square_map(), ONE, is_anomalous=True)
    expected = outer_line(square_map() >= 1, 1)  # exactly at the threshold counts as inside
    assert expected[9, 10:20].all()
    np.testing.assert_array_equal(has_colour(picture, MODEL_COLOUR), expected)
    grey = np.asarray(Image.fromarray(photograph).convert("L"))[0, 0]
    assert (picture[30:, 30:] == grey).all()
    assert len(set(picture[15, 15].tolist())) > 1  # tinted


def test_the_tint_starts_at_half_the_threshold_and_grows():
    photograph = np.full((1, 5, 3), 128, dtype=np.uint8)
    picture = overlay(photograph, map_of([0.0, 0.49, 0.6, 0.7, 0.8]), ONE, is_anomalous=True).astype(int)
    assert (picture[0, :2] == 128).all()
    distance = np.abs(picture[0] - 128).sum(axis=-1)
    assert 0 < distance[2] < distance[3] < distance[4]


def test_an_overlay_without_a_threshold_has_no_line():
    photograph = np.full((40, 40, 3), 128, dtype=np.uint8)
    unknown = MapScale(0.5, 0.5, is_known=False)
    assert not has_colour(overlay(photograph, square_map(), unknown, is_anomalous=True), MODEL_COLOUR).any()


def test_the_map_is_brought_to_the_photographs_size_and_the_line_grows_with_it():
    photograph = np.full((480, 960, 3), 128, dtype=np.uint8)
    line = has_colour(overlay(photograph, square_map(), HALF, is_anomalous=True), MODEL_COLOUR)
    assert line.shape == (480, 960)
    across = np.flatnonzero(line[180])  # 15 / 40 of the height: the middle of the square
    assert len(across) == 16  # 8 px on either side
    assert abs(across.min() - 240) < 10
    assert abs(across.max() - 480) < 10


@pytest.mark.parametrize(("size", "line_width"), [(40, 1), (240, 2), (600, 5)])
def test_on_a_normal_photograph_the_models_line_is_pale_and_dashed_on_every_side(size, line_width):
    photograph = np.full((size, size, 3), 200, dtype=np.uint8)
    solid = has_colour(marked(photograph, square_map(), HALF, is_anomalous=True), MODEL_COLOUR)
    picture = marked(photograph, square_map(), HALF, is_anomalous=False)
    dashed = has_colour(picture, BELOW_COLOUR)
    assert not has_colour(picture, MODEL_COLOUR).any()
    assert not (dashed & ~solid).any()
    middle = size * 15 // 40
    for side in (dashed[:middle], dashed[middle:], dashed[:, :middle], dashed[:, middle:]):
        assert 0.2 * solid.sum() < side.sum() < 0.45 * solid.sum()  # half of the line, three fifths of it drawn
    assert has_colour(picture, CASING_COLOUR).any()  # which shows it on any ground
    steps = np.diff(dashed[:middle, middle - 8 * line_width : middle + 8 * line_width].any(axis=0).astype(int))
    assert np.count_nonzero(steps) >= 4  # it ends and begins again


def test_a_mark_that_runs_off_a_normal_photograph_is_dashed_along_the_edge_too():
    photograph = np.full((40, 40, 3), 200, dtype=np.uint8)
    for turns in range(4):
        at_edge = np.rot90(np.pad(np.ones((20, 8), dtype=np.float32), ((10, 10), (0, 32))), turns).copy()
        drawn = has_colour(marked(photograph, at_edge, HALF, is_anomalous=False), BELOW_COLOUR)
        edge = np.rot90(drawn, -turns)[10:30, 0]
        assert 8 <= edge.sum() <= 16


def test_the_smallest_mark_of_a_normal_photograph_is_seen_wherever_it_lies():
    photograph = np.full((40, 40, 3), 200, dtype=np.uint8)
    for row in range(10, 16):
        for column in range(10, 16):
            one = np.zeros((40, 40), dtype=np.float32)
            one[row, column] = 1
            assert has_colour(marked(photograph, one, HALF, is_anomalous=False), BELOW_COLOUR).sum() >= 2


def test_a_pair_has_the_models_line_on_the_photograph_and_the_true_one_on_the_heatmap():
    photograph = np.full((50, 100, 3), 128, dtype=np.uint8)
    mask = np.zeros((50, 100), dtype=bool)
    mask[20:30, 40:60] = True
    photo, heat = pair(photograph, square_map(), HALF, mask, is_anomalous=True, height=80)
    assert photo.shape == heat.shape == (80, 160, 3)
    assert (has_colour(photo, MODEL_COLOUR).any(), has_colour(photo, TRUTH_COLOUR).any()) == (True, False)
    assert (has_colour(heat, MODEL_COLOUR).any(), has_colour(heat, TRUTH_COLOUR).any()) == (False, True)
    without, plain = pair(photograph, square_map(low=0.1, high=0.2), HALF, None, is_anomalous=True, height=80)
    assert (without == 128).all()  # nothing marked, nothing drawn
    assert not has_colour(plain, TRUTH_COLOUR).any()


def test_the_outline_lies_outside_the_mask_and_the_photograph_is_not_changed():
    photograph = np.full((40, 40, 3), 128, dtype=np.uint8)
    mask = square_map() > 0.5
    picture = outline(photograph, mask)
    line = has_colour(picture, TRUTH_COLOUR)
    assert not line[mask].any()
    assert line.sum() == 40  # ten pixels along each side
    assert line[9, 10:20].all()
    assert (picture[~line] == 128).all()
    assert (photograph == 128).all()


def test_a_mask_that_fills_the_picture_is_framed_and_an_empty_one_is_not():
    photograph = np.full((20, 20, 3), 128, dtype=np.uint8)
    line = has_colour(outline(photograph, np.ones((20, 20), dtype=bool)), TRUTH_COLOUR)
    assert line[0].all()
    assert line[:, -1].all()
    assert not line[1:-1, 1:-1].any()
    np.testing.assert_array_equal(outline(photograph, np.zeros((20, 20), dtype=bool)), photograph)


def test_panels_have_one_size_and_keep_the_shape_of_the_photograph():
    photograph = np.full((50, 100, 3), 128, dtype=np.uint8)
    pictures = panels(
        photograph, square_map(), HALF, np.zeros((50, 100), dtype=bool), is_anomalous=True, longer_side=64
    )
    assert [picture.shape for picture in pictures] == [(32, 64, 3)] * 3
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
