"""Captioned overlays, as `cavga predict` writes them and `Prediction.overlay` gives them. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cavga.arrays import AnomalyMap, Mask, Photograph, Picture
from cavga.rendering.heatmaps import BELOW, outer_line, overlay
from cavga.rendering.scale import MapScale

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ROI_COLOUR = (255, 255, 255)
GROUND, INK = (20, 23, 27), (230, 232, 235)
DECISION_COLOURS = {True: (238, 136, 102), False: (119, 170, 221)}  # as in reports
SMALLEST_FONT = 12  # px
PIXELS_PER_FONT_SIZE = 45  # of a photograph's width, so that a caption looks alike on every photograph
PIXELS_PER_BORDER = 400  # thinner than the line round what is marked
GAP = "   "
NO_PLACE = "no single place stands out"  # of an anomalous photograph without any region


@dataclass(frozen=True)
class Verdict:
    """What a caption says: the score, the threshold of the decision, how rare the score is, if a region is marked."""

    score: float
    threshold: float
    rarity: str | None
    has_region: bool


def captioned_overlay(
    photograph: Photograph, anomaly_map: AnomalyMap, verdict: Verdict, scale: MapScale, roi: Mask | None
) -> Picture:
    """The overlay with the border of the region of interest (True in `roi`, at the photograph's size), and a caption.

    The outline follows the verdict: of a normal photograph it is pale and dashed. The caption lies below the
    photograph, whose pixels keep their places; a photograph too narrow for the caption gets a margin at its right.
    """
    is_anomalous = verdict.score >= verdict.threshold
    picture = overlay(photograph, np.asarray(anomaly_map), scale, is_anomalous=is_anomalous)
    if roi is not None:
        picture[outer_line(roi, max(1, round(max(roi.shape) / PIXELS_PER_BORDER)))] = ROI_COLOUR
    parts = ["anomalous" if is_anomalous else "normal", *([] if verdict.rarity is None else [verdict.rarity])]
    parts += different("score", verdict.score, "threshold", verdict.threshold)
    if verdict.has_region:
        parts.append(f"outline from {scale.threshold:.3g}" if is_anomalous else f"dashed: {BELOW}")
    elif is_anomalous:
        parts.append(NO_PLACE)
    return _with_caption(picture, parts, DECISION_COLOURS[is_anomalous])


def different(name: str, value: float, other_name: str, other: float) -> list[str]:
    """Two numbers in as many digits as it takes to tell them apart."""
    digits = next((n for n in range(4, 10) if f"{value:.{n}g}" != f"{other:.{n}g}"), 4)
    return [f"{name} {value:.{digits}g}", f"{other_name} {other:.{digits}g}"]


def _with_caption(picture: Picture, parts: Sequence[str], first_colour: tuple[int, int, int]) -> Picture:
    """The picture above a strip of text, in as few lines as its width allows; the first part in a colour of its own."""
    height, width = picture.shape[:2]
    font_size = max(SMALLEST_FONT, width // PIXELS_PER_FONT_SIZE)
    font, margin = ImageFont.load_default(font_size), font_size // 3
    lines = _lines(parts, font, width - 2 * margin)
    line_height = int(1.3 * font_size)
    needed = max(round(font.getlength(line)) for line in lines) + 2 * margin
    page = Image.new("RGB", (max(width, needed), height + line_height * len(lines) + margin), GROUND)
    page.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        draw.text((margin, height + line_height * i + margin // 2), line, INK, font)
    draw.text((margin, height + margin // 2), parts[0], first_colour, font)
    return np.asarray(page)


def _lines(parts: Sequence[str], font: Font, width: int) -> list[str]:
    lines = [parts[0]]
    for part in parts[1:]:
        longer = lines[-1] + GAP + part
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines
