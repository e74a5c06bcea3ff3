"""What a result looks like: heatmap, overlay and outlines. Arrays in, arrays out; no torch, no matplotlib.

One scale for all images of a model (cavga.rendering.scale): its lower end and below is dark, the threshold is half way,
its upper end and above is bright. So a normal image looks dark, and two pictures can be compared.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import AnomalyMap, Mask, Picture
from cavga.images.resize import resize_map, resize_mask
from cavga.rendering.scale import MapScale

# Evenly spaced points of a map in the manner of inferno: lightness only grows, and it also does for
# the colour-blind and on a grey print.
HEAT_COLOURS = (
    (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
    (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
)  # fmt: skip
MODEL_COLOUR = (255, 225, 25)  # yellow: where the model marks a defect
BELOW_COLOUR = (255, 247, 200)  # the same, pale: what it marks in a photograph whose score is below the image threshold
BELOW = "below the image threshold"  # what such an outline is called wherever it is named
CASING_COLOUR = (20, 23, 27)  # along the model's lines, which would be lost on a bright photograph
DASH, GAP = 3, 2  # line widths
TRUTH_COLOUR = (0, 220, 255)  # cyan: where the defect truly is
TINT_START = 0.25  # of the scale, half way to the threshold: below it the overlay shows the photograph alone
MAX_TINT = 0.6  # opacity at the top of the scale: what lies below stays visible
PIXELS_PER_LINE_WIDTH = 120  # so that a line looks alike on every photograph

_TABLE = np.stack(
    [
        np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(HEAT_COLOURS)), c)
        for c in zip(*HEAT_COLOURS, strict=True)
    ],
    axis=1,
)


def heatmap(anomaly_map: AnomalyMap, scale: MapScale) -> Picture:
    """The map in colours on the scale, clipped."""
    return _coloured(scale.shares(anomaly_map))


def overlay(photograph: Picture, anomaly_map: AnomalyMap, scale: MapScale, *, is_anomalous: bool) -> Picture:
    """The photograph in grey, tinted from a quarter of the scale on, with the model's outline (see `marked`)."""
    resized = resize_map(anomaly_map, photograph.shape[:2])
    share = scale.shares(resized)
    opacity = MAX_TINT * np.clip((share - TINT_START) / (1 - TINT_START), 0, 1)[..., None]
    grey = np.asarray(Image.fromarray(photograph).convert("L"), dtype=np.float64)[..., None]
    blended = (1 - opacity) * grey + opacity * _coloured(share)
    return marked(np.rint(blended).astype(np.uint8), resized, scale, is_anomalous=is_anomalous)


def marked(picture: Picture, anomaly_map: AnomalyMap, scale: MapScale, *, is_anomalous: bool) -> Picture:
    """The picture with a line just outside map >= threshold, as far as that is known.

    It is pale and dashed where the photograph is not anomalous: there it is below the image threshold.
    """
    drawn = picture.copy()
    if not scale.is_known:
        return drawn
    resized = resize_map(anomaly_map, picture.shape[:2])
    mask, width = resized >= scale.threshold, _line_width(picture.shape)
    line = outer_line(mask, width)
    casing = outer_line(mask, width + max(1, width // 2)) & ~line
    if not is_anomalous:
        dashes = _dashes(resized, width)
        line, casing = line & dashes, casing & dashes
    drawn[casing] = CASING_COLOUR
    drawn[line] = MODEL_COLOUR if is_anomalous else BELOW_COLOUR
    return drawn


def pair(
    photograph: Picture, anomaly_map: AnomalyMap, scale: MapScale, mask: Mask | None, *, is_anomalous: bool, height: int
) -> tuple[Picture, Picture]:
    """The photograph with the model's outline, and the heatmap with that of the true mask, both `height` pixels high.

    So neither line hides the other, and one sees whether the map is high where the defect is.
    """
    size = (height, max(1, round(photograph.shape[1] * height / photograph.shape[0])))
    photo = np.asarray(Image.fromarray(photograph).resize(size[::-1], Image.Resampling.LANCZOS))
    heat = heatmap(resize_map(anomaly_map, size), scale)
    return marked(photo, anomaly_map, scale, is_anomalous=is_anomalous), heat if mask is None else outline(heat, mask)


def outline(photograph: Picture, mask: Mask) -> Picture:
    """The picture with a line just outside the true mask, so that the defect itself stays visible."""
    picture = photograph.copy()
    picture[outer_line(resize_mask(mask, photograph.shape[:2]), _line_width(photograph.shape))] = TRUTH_COLOUR
    return picture


def panels(
    photograph: Picture,
    anomaly_map: AnomalyMap,
    scale: MapScale,
    mask: Mask | None,
    *,
    is_anomalous: bool,
    longer_side: int,
) -> tuple[Picture, Picture, Picture]:
    """Photograph (outlined where the mask is known), overlay and heatmap, scaled to `longer_side` pixels."""
    height, width = photograph.shape[:2]
    factor = longer_side / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    photo = np.asarray(Image.fromarray(photograph).resize(size[::-1], Image.Resampling.LANCZOS))
    first = photo if mask is None else outline(photo, mask)
    heat = heatmap(resize_map(anomaly_map, size), scale)
    return first, overlay(photo, anomaly_map, scale, is_anomalous=is_anomalous), heat


def _coloured(share: NDArray[np.float64]) -> Picture:
    return np.rint(_TABLE[np.rint(share * 255).astype(np.intp)]).astype(np.uint8)


def _line_width(shape: tuple[int, ...]) -> int:
    return max(1, round(max(shape[:2]) / PIXELS_PER_LINE_WIDTH))


def _dashes(anomaly_map: AnomalyMap, width: int) -> Mask:
    """Stripes across the map's contour lines: along the axis that runs with the line at each pixel.

    Opposite sides of a mark begin with a gap and with a dash, so that the smallest one shows.
    """
    padded = np.pad(anomaly_map, width, mode="edge")
    inside = slice(width, -width)
    down = padded[2 * width :, inside] - padded[: -2 * width, inside]
    right = padded[inside, 2 * width :] - padded[inside, : -2 * width]
    is_flat, (y, x) = np.abs(down) > np.abs(right), np.indices(anomaly_map.shape)
    rim = 2 * width  # where a mark runs off the picture its line goes along the edge
    is_flat[:, :rim] = is_flat[:, -rim:] = False
    is_flat[:rim] = is_flat[-rim:] = True
    place = np.where(is_flat, x, y) + np.where(np.where(is_flat, down, right) < 0, GAP * width, 0)
    stripes: Mask = place % ((DASH + GAP) * width) < DASH * width
    return stripes


def _inner_line(mask: Mask, width: int) -> Mask:
    """The pixels of the mask within `width` of its outside; beyond the picture is outside."""
    outside = np.pad(~mask, width, constant_values=True)
    return mask & _grown(outside, width)[width:-width, width:-width]


def outer_line(mask: Mask, width: int) -> Mask:
    """The pixels within `width` of the mask; inside it only where it runs off the picture."""
    is_rim = np.ones_like(mask)
    is_rim[width:-width, width:-width] = False
    return (_grown(mask, width) & ~mask) | (_inner_line(mask, width) & is_rim)


def _grown(mask: Mask, steps: int) -> Mask:
    for _ in range(steps):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask
