"""The histogram of scores as an SVG picture: good, defective and unlabelled images, and the threshold."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PLOT_WIDTH, ROW_HEIGHT, LEFT, TOP = 440, 68, 54, 18  # of the histogram, in units of its view box
NUM_BINS = 32
NAMES = {0: "good", 1: "defective", None: "not labelled"}
CSS_CLASSES = {0: "normal", 1: "anomalous", None: "unknown"}


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
    edges = np.linspace(*padded_range(everything), NUM_BINS + 1)
    bottom = TOP + ROW_HEIGHT * len(rows)
    parts = (
        [] if cut is None else [threshold_line(cut, _position(cut, edges), top=TOP, bottom=bottom)]
    )  # first, so that texts lie above it
    for i, (label, values) in enumerate(rows.items()):
        parts.append(_row(names[label], CSS_CLASSES[label], values, edges, TOP + ROW_HEIGHT * i))
    parts += _score_axis(edges, bottom)
    counts = ", ".join(f"{len(values)} {names[label]}" for label, values in rows.items())
    return (
        f'<svg viewBox="0 0 {PLOT_WIDTH} {bottom + 36}" role="img" '
        f'aria-label="Histogram of the anomaly scores: {counts}">{"".join(parts)}</svg>'
    )


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


def threshold_line(threshold: float, x: float, *, top: int, bottom: int) -> str:
    """The threshold as a line at `x` of a picture of PLOT_WIDTH, with its value above."""
    anchor = "start" if x < PLOT_WIDTH / 3 else "end" if x > PLOT_WIDTH * 2 / 3 else "middle"
    return (
        f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text x="{x:.1f}" y="12" text-anchor="{anchor}">threshold {threshold:.4g}</text>'
    )


def _score_axis(edges: NDArray[np.float64], bottom: int) -> list[str]:
    marks = []
    for tick in round_ticks(edges[0], edges[-1]):
        x = _position(tick, edges)
        anchor = tick_anchor(x, PLOT_WIDTH)
        marks.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="{anchor}">{tick:.6g}</text>')
    middle = (LEFT + PLOT_WIDTH) / 2
    return [
        *marks,
        f'<text x="{middle}" y="{bottom + 31}" text-anchor="middle">anomaly score</text>',
        f'<text x="{LEFT - 5}" y="{TOP + 18}" text-anchor="end">images</text>',
    ]


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about four of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= max(factor for factor in (1, 2, 5) if factor * step <= (high - low) / 3 or factor == 1)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def tick_anchor(x: float, width: int) -> str:
    """How the text of a tick at `x` is anchored, so that it does not run off a picture of this width."""
    return "end" if x > width - 20 else "middle"


def _position(score: float, edges: NDArray[np.float64]) -> float:
    return float(LEFT + (score - edges[0]) / (edges[-1] - edges[0]) * (PLOT_WIDTH - LEFT))


def padded_range(values: Sequence[float]) -> tuple[float, float]:
    """From a little below the lowest to a little above the highest."""
    low, high = min(values), max(values)
    # Equal scores still need a width that their own precision can divide into bins.
    padding = max(0.03 * (high - low), 1e-6 * max(abs(low), abs(high)), 1e-9)
    return low - padding, high + padding
