"""What a result looks like: heatmap, overlay and outline. Arrays in, arrays out; no torch, no matplotlib.

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


def overlay(photograph: Picture, anomaly_map: AnomalyMap, scale: MapScale) -> Picture:
    """The photograph in grey, tinted from a quarter of the scale on, with a line round map >= threshold if known."""
    resized = resize_map(anomaly_map, photograph.shape[:2])
    share = scale.shares(resized)
    opacity = MAX_TINT * np.clip((share - TINT_START) / (1 - TINT_START), 0, 1)[..., None]
    grey = np.asarray(Image.fromarray(photograph).convert("L"), dtype=np.float64)[..., None]
    blended = (1 - opacity) * grey + opacity * _coloured(share)
    picture = np.rint(blended).astype(np.uint8)
    if scale.is_known:
        picture[_inner_line(resized >= scale.threshold, _line_width(resized.shape))] = MODEL_COLOUR
    return picture


def outline(photograph: Picture, mask: Mask) -> Picture:
    """The photograph with a line just outside the true mask, so that the defect itself stays visible."""
    picture = photograph.copy()
    picture[outer_line(resize_mask(mask, photograph.shape[:2]), _line_width(photograph.shape))] = TRUTH_COLOUR
    return picture


def panels(
    photograph: Picture, anomaly_map: AnomalyMap, scale: MapScale, mask: Mask | None, *, longer_side: int
) -> tuple[Picture, Picture, Picture]:
    """Photograph (outlined where the mask is known), overlay and heatmap, scaled to `longer_side` pixels."""
    height, width = photograph.shape[:2]
    factor = longer_side / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    photo = np.asarray(Image.fromarray(photograph).resize(size[::-1], Image.Resampling.LANCZOS))
    first = photo if mask is None else outline(photo, mask)
    return first, overlay(photo, anomaly_map, scale), heatmap(resize_map(anomaly_map, size), scale)


def _coloured(share: NDArray[np.float64]) -> Picture:
    return np.rint(_TABLE[np.rint(share * 255).astype(np.intp)]).astype(np.uint8)


def _line_width(shape: tuple[int, ...]) -> int:
    return max(1, round(max(shape[:2]) / PIXELS_PER_LINE_WIDTH))


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
