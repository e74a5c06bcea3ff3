import numpy as np
import pytest
from PIL import ImageDraw

from cavga.inference.detector import Prediction
from cavga.prediction.overlays import ROI_COLOUR, captioned_overlay
from cavga.rendering.heatmaps import overlay
from cavga.rendering.scale import MapScale
from tests.rendering.test_heatmaps import has_colour, square_map


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
