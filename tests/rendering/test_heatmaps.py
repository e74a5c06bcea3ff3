"""Pictures: the fixed scale, where lines and tints lie, sizes, and the histogram's geometry."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cavga.images.resize import resize_map, resize_mask
from cavga.inference.detector import Prediction
from cavga.prediction.overlays import ROI_COLOUR, captioned_overlay
from cavga.rendering.charts import LEFT, PLOT_WIDTH, score_histogram
from cavga.rendering.heatmaps import HEAT_COLOURS, MODEL_COLOUR, TRUTH_COLOUR, heatmap, outline, overlay, panels
from cavga.rendering.html import data_uri, legend
from cavga.rendering.scale import MapScale, scale_of_maps

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


def test_the_scale_runs_from_0_to_twice_the_threshold_and_is_clipped():
    picture = heatmap(map_of([-1.0, 0.0, 0.5, 1.0, 7.0]), HALF)
    assert picture.dtype == np.uint8
    assert picture.shape == (1, 5, 3)
    assert tuple(picture[0, 0]) == tuple(picture[0, 1]) == HEAT_COLOURS[0]
    assert np.abs(picture[0, 2].astype(int) - HEAT_COLOURS[4]).max() <= 1  # the threshold is half way
    assert tuple(picture[0, 3]) == tuple(picture[0, 4]) == HEAT_COLOURS[-1]


def test_a_value_has_the_same_colour_whatever_else_is_in_the_image():
    alone, beside = heatmap(map_of([0.3, 0.1]), HALF), heatmap(map_of([0.3, 90.0]), HALF)
    np.testing.assert_array_equal(alone[0, 0], beside[0, 0])


def test_lightness_only_grows_along_the_scale():
    ramp = heatmap(np.linspace(0, 1, 256, dtype=np.float32)[None], HALF)[0]
    assert (np.diff(luminance(ramp)) >= 0).all()
    assert (np.diff(luminance(HEAT_COLOURS)) > 0).all()


def test_a_scale_may_lie_below_0():
    picture = heatmap(map_of([-9.0, -4.0, -1.5, 1.0, 2.0]), MapScale(-1.5, 2.5))
    assert tuple(picture[0, 0]) == tuple(picture[0, 1]) == HEAT_COLOURS[0]
    assert np.abs(picture[0, 2].astype(int) - HEAT_COLOURS[4]).max() <= 1
    assert tuple(picture[0, 3]) == tuple(picture[0, 4]) == HEAT_COLOURS[-1]
    photograph = np.full((40, 40, 3), 128, dtype=np.uint8)
    picture = overlay(photograph, square_map(low=-2.8, high=-1.0), MapScale(-1.5, 2.5))
    assert has_colour(picture, MODEL_COLOUR)[10:20, 10:20].sum() == 36
    assert (picture[30:, 30:] == 128).all()


def test_a_faulty_value_does_not_look_normal():
    assert tuple(heatmap(map_of([float("nan"), 0.0]), HALF)[0, 0]) == HEAT_COLOURS[-1]


def test_the_overlay_draws_a_line_at_the_threshold_and_leaves_the_rest_grey():
    photograph = np.full((40, 40, 3), (200, 100, 50), dtype=np.uint8)
    picture = overlay(photograph, square_map(), ONE)
    expected = np.zeros((40, 40), dtype=bool)
    expected[10:20, 10:20] = True
    expected[11:19, 11:19] = False  # exactly at the threshold counts as inside
    np.testing.assert_array_equal(has_colour(picture, MODEL_COLOUR), expected)
    grey = np.asarray(Image.fromarray(photograph).convert("L"))[0, 0]
    assert (picture[30:, 30:] == grey).all()
    assert len(set(picture[15, 15].tolist())) > 1  # tinted


def test_the_tint_starts_at_half_the_threshold_and_grows():
    photograph = np.full((1, 5, 3), 128, dtype=np.uint8)
    picture = overlay(photograph, map_of([0.0, 0.49, 0.6, 0.7, 0.8]), ONE).astype(int)
    assert (picture[0, :2] == 128).all()
    distance = np.abs(picture[0] - 128).sum(axis=-1)
    assert 0 < distance[2] < distance[3] < distance[4]


def test_an_overlay_without_a_threshold_has_no_line():
    photograph = np.full((40, 40, 3), 128, dtype=np.uint8)
    assert not has_colour(overlay(photograph, square_map(), MapScale(0.5, 0.5, is_known=False)), MODEL_COLOUR).any()


def test_the_map_is_brought_to_the_photographs_size_and_the_line_grows_with_it():
    photograph = np.full((480, 960, 3), 128, dtype=np.uint8)
    line = has_colour(overlay(photograph, square_map(), HALF), MODEL_COLOUR)
    assert line.shape == (480, 960)
    across = np.flatnonzero(line[180])  # 15 / 40 of the height: the middle of the square
    assert len(across) == 16  # 8 px on either side
    assert abs(across.min() - 240) < 10
    assert abs(across.max() - 480) < 10


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


def test_a_thin_scratch_survives_a_smaller_size():
    mask = np.zeros((256, 256), dtype=bool)
    mask[:, 100] = True
    assert resize_mask(mask, (128, 128)).any(axis=1).all()


def test_a_resized_map_keeps_values_beyond_the_range_of_bytes():
    resized = resize_map(np.full((4, 6), 1000.5, dtype=np.float32), (8, 12))
    assert resized.dtype == np.float32
    assert (resized == 1000.5).all()


def test_panels_have_one_size_and_keep_the_shape_of_the_photograph():
    photograph = np.full((50, 100, 3), 128, dtype=np.uint8)
    pictures = panels(photograph, square_map(), HALF, np.zeros((50, 100), dtype=bool), longer_side=64)
    assert [picture.shape for picture in pictures] == [(32, 64, 3)] * 3
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}


def test_a_data_uri_is_a_picture():
    assert data_uri(np.zeros((4, 4, 3), dtype=np.uint8)).startswith("data:image/jpeg;base64,/9j/")


def test_the_histogram_shows_each_label_and_the_threshold_in_its_place():
    svg = score_histogram([(0.0, 0), (0.1, 0), (1.0, 1), (0.5, None)], 0.5)
    for text in ("2 good", "1 defective", "1 not labelled", "threshold 0.5", "anomaly score", "images"):
        assert f">{text}<" in svg
    x = float(re.search(r'class="threshold" x1="([\d.]+)"', svg).group(1))
    assert abs(x - (LEFT + PLOT_WIDTH) / 2) < 1  # half way between the lowest and the highest score


@pytest.mark.parametrize("scores", [[(0.5, 1)], [(3.0, 0)] * 5, [(1e6, 0), (1e6, 1)], [(-2.0, 0), (0.0, 1)]])
@pytest.mark.parametrize("threshold", [None, float("nan"), 0.5])
def test_the_histogram_takes_equal_and_negative_scores(scores, threshold):
    svg = score_histogram(scores, threshold)
    assert "nan" not in svg
    assert ("threshold 0.5" in svg) == (threshold == 0.5)


def test_no_finite_score_no_histogram():
    assert score_histogram([], 0.5) == ""
    assert score_histogram([(float("nan"), 0)], 0.5) == ""


def test_the_legend_gives_the_scale_in_numbers():
    assert ">0<" in legend(MapScale(0.25, 0.25))
    assert "0.25 = threshold" in legend(MapScale(0.25, 0.25))
    assert "0.5 and above" in legend(MapScale(0.25, 0.25))
    assert "-4 and below" in legend(MapScale(-1.5, 2.5))
    assert "= threshold" not in legend(MapScale(-1.5, 2.5, is_known=False))
    assert ("<p hidden>" in legend(ONE), "<p hidden>" in legend(MapScale(1.0, 1.0, is_known=False))) == (False, True)


def test_maps_of_an_unknown_model_have_one_scale_of_all_that_are_shown():
    maps = [map_of([-3.0, 1.0]), map_of([0.0, 5.0])]
    assert scale_of_maps(maps, 0.5) == HALF
    assert scale_of_maps(maps, -1.0) == MapScale(-1.0, 6.0)
    assert scale_of_maps(maps, None) == MapScale(1.0, 4.0, is_known=False)
    assert scale_of_maps([], None).reach > 0
    assert scale_of_maps([map_of([2.0, 2.0])], None).reach > 0


def captioned(score, *, width=64, marked=True, roi=None):
    anomaly_map = square_map() * marked
    prediction = Prediction(score, 9.0, False, anomaly_map, anomaly_map >= 0.5, (60, width), 0.0)
    return captioned_overlay(np.full((60, width, 3), 90, np.uint8), prediction, 1.2, MapScale(0.5, 0.5), roi)


@pytest.mark.parametrize("width", [8, 64, 256, 2000])
def test_a_caption_says_score_threshold_and_decision_below_the_photograph(width, monkeypatch):
    written, draw = [], ImageDraw.ImageDraw.text

    def note(self, place, text, fill, font):
        assert place[1] >= 60
        assert place[0] + font.getlength(text) <= self.im.size[0]
        assert place[1] + font.size <= self.im.size[1]
        written.append(text)
        return draw(self, place, text, fill, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    picture = captioned(1.2, width=width)
    words = " ".join(written).split()
    assert " ".join(words[: words.index("outline")]) == "anomalous score 1.2 threshold 1.2"  # its own is 9
    plain = overlay(np.full((60, width, 3), 90, np.uint8), square_map(), MapScale(0.5, 0.5))
    np.testing.assert_array_equal(picture[:60, :width], plain)
    written.clear()
    captioned(1.19999, width=width, marked=False)
    assert " ".join(" ".join(written).split()).startswith("normal score 1.19999 threshold 1.2")
    assert "outline" not in " ".join(written)


def test_the_border_of_a_region_of_interest_is_drawn_outside_it():
    roi = np.zeros((60, 64), dtype=bool)
    roi[5:40, 8:50] = True
    drawn = has_colour(captioned(1.0, marked=False, roi=roi)[:60, :64], ROI_COLOUR)
    assert drawn[4, 8:50].all()
    assert drawn[40, 8:50].all()
    assert not drawn[roi].any()
    assert not has_colour(captioned(1.0, marked=False)[:60, :64], ROI_COLOUR).any()
