import numpy as np
import pytest
from PIL import ImageDraw

from cavga.calibration.normal_scores import NormalScores
from cavga.rendering.heatmaps import BELOW_COLOUR, MODEL_COLOUR, overlay
from cavga.rendering.overlays import ROI_COLOUR, Verdict, captioned_overlay
from cavga.rendering.scale import MapScale
from tests.rendering.test_heatmaps import has_colour, square_map


def captioned(score, *, width=64, marked=True, roi=None, normal_scores=None):
    rarity = None if normal_scores is None else normal_scores.in_words(score)
    verdict = Verdict(score, 1.2, rarity, has_region=marked)
    return captioned_overlay(
        np.full((60, width, 3), 90, np.uint8), square_map() * marked, verdict, MapScale(0.5, 0.5), roi
    )


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
    assert " ".join(words[: words.index("outline")]) == "anomalous score 1.2 threshold 1.2"
    plain = overlay(np.full((60, width, 3), 90, np.uint8), square_map(), MapScale(0.5, 0.5), is_anomalous=True)
    np.testing.assert_array_equal(picture[:60, :width], plain)
    written.clear()
    captioned(1.19999, width=width, marked=False)
    assert " ".join(" ".join(written).split()).startswith("normal score 1.19999 threshold 1.2")
    assert "outline" not in " ".join(written)


def words_of(monkeypatch, *arguments, **options):
    written = []
    monkeypatch.setattr(
        "cavga.rendering.overlays._with_caption", lambda picture, parts, _: written.extend(parts) or picture
    )
    captioned(*arguments, **options)
    return written


def test_the_caption_names_what_does_not_go_with_the_verdict(monkeypatch):
    good = NormalScores(np.linspace(0, 1, 40), 40)
    assert words_of(monkeypatch, 1.3, normal_scores=good)[:2] == ["anomalous", "higher than all 40 good ones"]
    normal = words_of(monkeypatch, 0.9, normal_scores=good)
    assert normal[:2] == ["normal", "1 in 10 good ones scores this high"]
    assert normal[-1] == "dashed: below the image threshold"
    assert words_of(monkeypatch, 1.3, marked=False)[-1] == "no single place stands out"
    assert words_of(monkeypatch, 0.9, marked=False)[-1] == "threshold 1.2"


def test_the_line_of_a_normal_photograph_is_dashed():
    assert has_colour(captioned(1.2), MODEL_COLOUR).any()
    assert not has_colour(captioned(1.1), MODEL_COLOUR).any()
    assert has_colour(captioned(1.1), BELOW_COLOUR).any()


def test_the_border_of_a_region_of_interest_is_drawn_outside_it():
    roi = np.zeros((60, 64), dtype=bool)
    roi[5:40, 8:50] = True
    drawn = has_colour(captioned(1.0, marked=False, roi=roi)[:60, :64], ROI_COLOUR)
    assert drawn[4, 8:50].all()
    assert drawn[40, 8:50].all()
    assert not drawn[roi].any()
    assert not has_colour(captioned(1.0, marked=False)[:60, :64], ROI_COLOUR).any()
