"""What a result looks like: heatmap, overlay and outline (arrays in, arrays out), and the look of the report.

One scale for all images of a model (cavga.map_scale): its lower end and below is dark, the threshold is half way, its
upper end and above is bright. So a normal image looks dark, and two pictures can be compared. No torch, no matplotlib.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.rendering.scale import MapScale

Picture = NDArray[np.uint8]  # H x W x 3
AnomalyMap = NDArray[np.float32]  # H x W
Mask = NDArray[np.bool_]  # H x W

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
JPEG_QUALITY = 85

PLOT_WIDTH, ROW_HEIGHT, LEFT, TOP = 440, 68, 54, 18  # of the histogram, in units of its view box
NUM_BINS = 32
NAMES = {0: "good", 1: "defective", None: "not labelled"}
CSS_CLASSES = {0: "normal", 1: "anomalous", None: "unknown"}
STYLE = """
:root { --ground: #fff; --soft: #f3f4f6; --ink: #1c2026; --dim: #5a636e; --rule: #d9dde2; --link: #0b5cad;
  --normal: #4477aa; --anomalous: #d9662b; --bad: #b3261e; --warn: #8a5300; --good: #146c43; }
@media screen and (prefers-color-scheme: dark) { :root { --ground: #14171b; --soft: #1f2329; --ink: #e6e8eb;
  --dim: #a0a8b2; --rule: #363c44; --link: #7db7f5; --normal: #77aadd; --anomalous: #ee8866; --bad: #ff8a80;
  --warn: #f0b45a; --good: #6fcf97; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 74rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.45rem; margin: 2.5rem 0 .5rem; padding-top: 1.25rem; border-top: 1px solid var(--rule); }
section:only-child h2 { margin-top: 0; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
a { color: var(--link); } ul { margin: .25rem 0; padding-left: 1.2rem; } .verdict { font-size: 1.2rem; margin: 0; }
.hint { color: var(--dim); font-size: .85rem; } .none { color: var(--dim); font-style: italic; font-size: .85rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 3rem; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption, .plot figcaption { text-align: left; font-weight: 600; }
th, td { padding: .35rem 0 .35rem .75rem; border-bottom: 1px solid var(--rule); text-align: right;
  vertical-align: top; font-weight: 400; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--dim); font-size: .85rem; } table .hint { display: block; line-height: 1.3; }
td { white-space: nowrap; }
figure { margin: 0; } .plot { margin: 1rem 0; } svg { width: 100%; max-width: 36rem; display: block; }
svg text { font-size: 11px; fill: var(--dim); } svg .name { fill: var(--ink); font-weight: 600;
  paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
svg .axis { stroke: var(--dim); } svg .threshold { stroke: var(--ink); stroke-dasharray: 4 3; }
svg .normal { fill: var(--normal); } svg .anomalous { fill: var(--anomalous); } svg .unknown { fill: var(--dim); }
.legend { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: center; margin-bottom: 1rem; }
.legend, .legend p { font-size: .85rem; margin-top: 0; } .legend p { margin: 0; }
.legend i { display: inline-block; width: 1rem; height: 1rem; margin-right: .5rem; border: 3px solid;
  background: #777; vertical-align: -.2rem; }
.scale { flex: 0 1 22rem; } .scale div { height: .75rem; } .scale p { display: flex; }
.scale span { flex: 1 1 0; text-align: center; } .scale span:first-child { text-align: left; }
.scale span:last-child { text-align: right; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1.25rem; }
.case { background: var(--soft); border-radius: .5rem; padding: .75rem; break-inside: avoid; }
.panels { display: grid; grid-template-columns: repeat(3, 1fr); gap: .4rem; }
.panels img { display: block; width: 100%; height: auto; border-radius: .2rem; }
.case figcaption { display: flex; flex-wrap: wrap; gap: 0 .75rem; padding-top: .5rem; align-items: baseline; }
.case .hint { flex-basis: 100%; } .case .name { font-weight: 600; }
.missed { color: var(--bad); } .false { color: var(--warn); } .found { color: var(--good); }
@media screen and (max-width: 30rem) { body { padding: 1rem; } table { font-size: .85rem; }
  th, td { padding-left: .4rem; } svg text { font-size: 13px; } .none { white-space: normal; } }
@media print { html { font-size: 8pt; } body { max-width: none; padding: 0; print-color-adjust: exact; }
  h2, h3, .legend { break-after: avoid; } section + section { break-before: page; } .plot { break-inside: avoid; }
  .gallery { grid-template-columns: 1fr 1fr; } }
"""

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


def resize_map(anomaly_map: AnomalyMap, size: tuple[int, ...]) -> AnomalyMap:
    """A map at another (height, width), bilinear; not clipped."""
    if anomaly_map.shape == tuple(size):
        return anomaly_map
    resized = Image.fromarray(anomaly_map).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def resize_mask(mask: Mask, size: tuple[int, ...]) -> Mask:
    """A mask at another (height, width); a quarter of a pixel is enough, or thin scratches would vanish."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize((size[1], size[0]), Image.Resampling.BILINEAR)) >= 64


def score_histogram(
    scores: Sequence[tuple[float, int | None]], threshold: float | None, *, names: Mapping[int | None, str] = NAMES
) -> str:
    """Inline SVG: one row of bars per label over one axis of scores, and the threshold as a line.

    Empty without a finite score. Colours come from the page: classes normal, anomalous, unknown, threshold.
    """
    rows = {label: [s for s, known in scores if known == label and math.isfinite(s)] for label in NAMES}
    rows = {label: values for label, values in rows.items() if values}
    if not rows:
        return ""
    cut = threshold if threshold is not None and math.isfinite(threshold) else None
    everything = [value for values in rows.values() for value in values] + ([] if cut is None else [cut])
    edges = np.linspace(*_padded_range(everything), NUM_BINS + 1)
    bottom = TOP + ROW_HEIGHT * len(rows)
    parts = [] if cut is None else [_threshold_line(cut, edges, bottom)]  # first, so that texts lie above it
    for i, (label, values) in enumerate(rows.items()):
        parts.append(_row(names[label], CSS_CLASSES[label], values, edges, TOP + ROW_HEIGHT * i))
    parts += _score_axis(edges, bottom)
    counts = ", ".join(f"{len(values)} {names[label]}" for label, values in rows.items())
    return (
        f'<svg viewBox="0 0 {PLOT_WIDTH} {bottom + 36}" role="img" '
        f'aria-label="Histogram of the anomaly scores: {counts}">{"".join(parts)}</svg>'
    )


def legend(scale: MapScale) -> str:
    """HTML: what the lines and colours of a case mean."""
    lowest = "0" if scale.minimum == 0 else f"{scale.minimum:.3g} and below"
    ticks = (lowest, f"{scale.threshold:.3g} = threshold" if scale.is_known else "", f"{scale.maximum:.3g} and above")
    gradient = ", ".join(_css(colour) for colour in HEAT_COLOURS)
    return (
        '<div class="legend"><p>Each case: photograph, overlay, anomaly map</p>'
        f'<p><i style="border-color:{_css(TRUTH_COLOUR)}"></i>true defect, from the mask</p>'
        f'<p{"" if scale.is_known else " hidden"}><i style="border-color:{_css(MODEL_COLOUR)}"></i>marked by '
        "the model: map ≥ threshold</p>"
        f'<div class="scale"><div style="background:linear-gradient(to right, {gradient})"></div>'
        f"<p>{''.join(f'<span>{tick}</span>' for tick in ticks)}</p></div></div>"
    )


def data_uri(picture: Picture) -> str:
    """The picture as a JPEG inside an address, for a page without other files."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _row(name: str, css_class: str, values: Sequence[float], edges: NDArray[np.float64], top: int) -> str:
    counts, _ = np.histogram(values, bins=edges)
    base, height = top + ROW_HEIGHT, ROW_HEIGHT - 24
    bars = "".join(
        f"M{_position(left, edges) + 0.5:.1f} {base}V{base - height * count / counts.max():.1f}"
        f"H{_position(right, edges) - 0.5:.1f}V{base}Z"
        for left, right, count in zip(edges, edges[1:], counts, strict=False)
        if count
    )
    return (
        f'<path class="{css_class}" d="{bars}"/>'
        f'<line class="axis" x1="{LEFT}" x2="{PLOT_WIDTH}" y1="{base}" y2="{base}"/>'
        f'<text x="{LEFT - 5}" y="{base - height + 8}" text-anchor="end">{counts.max()}</text>'
        f'<text x="{LEFT - 5}" y="{base}" text-anchor="end">0</text>'
        f'<text class="name" x="{LEFT}" y="{top + 18}">{len(values)} {name}</text>'
    )


def _threshold_line(threshold: float, edges: NDArray[np.float64], bottom: int) -> str:
    x = _position(threshold, edges)
    anchor = "start" if x < PLOT_WIDTH / 3 else "end" if x > PLOT_WIDTH * 2 / 3 else "middle"
    return (
        f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text x="{x:.1f}" y="12" text-anchor="{anchor}">threshold {threshold:.4g}</text>'
    )


def _score_axis(edges: NDArray[np.float64], bottom: int) -> list[str]:
    span = edges[-1] - edges[0]
    step = 10.0 ** math.floor(math.log10(span / 3))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= span / 3 or factor == 1)
    ticks = [k * step for k in range(math.ceil(edges[0] / step), math.floor(edges[-1] / step) + 1)]
    marks = [
        f'<text x="{_position(tick, edges):.1f}" y="{bottom + 14}" text-anchor="middle">{tick:.6g}</text>'
        for tick in ticks
    ]
    middle = (LEFT + PLOT_WIDTH) / 2
    return [
        *marks,
        f'<text x="{middle}" y="{bottom + 31}" text-anchor="middle">anomaly score</text>',
        f'<text x="{LEFT - 5}" y="{TOP + 18}" text-anchor="end">images</text>',
    ]


def _position(score: float, edges: NDArray[np.float64]) -> float:
    return float(LEFT + (score - edges[0]) / (edges[-1] - edges[0]) * (PLOT_WIDTH - LEFT))


def _padded_range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    # Equal scores still need a width that their own precision can divide into bins.
    padding = max(0.03 * (high - low), 1e-6 * max(abs(low), abs(high)), 1e-9)
    return low - padding, high + padding


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb{colour}"


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
