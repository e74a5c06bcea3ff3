"""What another threshold would give, as SVG pictures: both rates by threshold, and the ROC curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.rendering.charts import PLOT_WIDTH, padded_range, round_ticks, threshold_line, tick_anchor

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = PLOT_WIDTH, 240, 54, 12, 24, 40  # of a picture, in units of its view box
SHARE_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rates:
    """The shares of good and of defective images that reach each threshold, from the lowest threshold to the highest.

    The first threshold is the lowest score, the last lies just above the highest: there both shares are 0.
    """

    thresholds: Values
    false_alarm_rates: Values
    recalls: Values

    @classmethod
    def of(cls, scores: Sequence[tuple[float, int | None]]) -> "Rates | None":
        """Of (score, label 0 good or 1 defective); None unless there are both."""
        good, defective = (
            np.sort([score for score, known in scores if known == label and math.isfinite(score)]) for label in (0, 1)
        )
        if not len(good) or not len(defective):
            return None
        everything = np.unique(np.concatenate([good, defective]))
        thresholds = np.append(everything, np.nextafter(everything[-1], np.inf))
        shares = [1 - np.searchsorted(values, thresholds, side="left") / len(values) for values in (good, defective)]
        return cls(thresholds, shares[0], shares[1])

    def at(self, threshold: float) -> tuple[float, float]:
        """False alarm rate and recall at a threshold."""
        i = int(np.searchsorted(self.thresholds, threshold, side="left"))
        return (0.0, 0.0) if i == len(self.thresholds) else (self.false_alarm_rates[i], self.recalls[i])


def rates_chart(rates: Rates, threshold: float | None) -> str:
    """Inline SVG: the share of defective and of good images called anomalous, by threshold."""
    low, high = _range(rates.thresholds, threshold)
    scale = (WIDTH - LEFT - RIGHT) / (high - low)
    places = LEFT + (rates.thresholds - low) * scale
    lines = "".join(
        f'<path class="line {name}" d="{_steps(np.concatenate([[LEFT], places]), np.concatenate([[1.0], shares]))}"/>'
        for name, shares in (("normal", rates.false_alarm_rates), ("anomalous", rates.recalls))
    )
    cut = ""
    if threshold is not None and math.isfinite(threshold):
        cut = threshold_line(threshold, LEFT + (threshold - low) * scale, top=TOP, bottom=HEIGHT - BOTTOM)
    ticks = [(LEFT + (tick - low) * scale, f"{tick:.6g}") for tick in round_ticks(low, high)]
    return _picture(
        "Share of good and of defective images called anomalous, by threshold", cut + lines, ticks, "threshold"
    )


def roc_chart(rates: Rates, threshold: float | None) -> str:
    """Inline SVG: recall by false alarm rate over all thresholds, and where the model's threshold stands."""
    width = WIDTH - LEFT - RIGHT
    x, y = LEFT + rates.false_alarm_rates[::-1] * width, rates.recalls[::-1]
    points = " ".join(f"{a:.1f},{_y(b):.1f}" for a, b in zip(x, y, strict=True))
    parts = [
        f'<line class="chance" x1="{LEFT}" y1="{_y(0):.1f}" x2="{LEFT + width}" y2="{_y(1):.1f}"/>',
        f'<polyline class="line anomalous" points="{points}"/>',
    ]
    if threshold is not None and math.isfinite(threshold):
        rate, recall = rates.at(threshold)
        at_x, at_y = LEFT + rate * width, _y(recall)
        parts.append(
            f'<circle class="here" cx="{at_x:.1f}" cy="{at_y:.1f}" r="5"/>'
            f'<text x="{min(at_x + 9, WIDTH - 90):.1f}" y="{at_y + 16:.1f}">the threshold in use</text>'
        )
    ticks = [(LEFT + share * width, f"{share:.0%}") for share in SHARE_TICKS]
    return _picture("ROC curve", "".join(parts), ticks, "good images called anomalous")


def _picture(label: str, content: str, ticks: Sequence[tuple[float, str]], x_title: str) -> str:
    base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    rows = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{_y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in SHARE_TICKS
    )
    marks = "".join(
        f'<text x="{x:.1f}" y="{base + 15}" text-anchor="{tick_anchor(x, WIDTH)}">{text}</text>' for x, text in ticks
    )
    title = f'<text x="{(LEFT + right) / 2}" y="{base + 32}" text-anchor="middle">{x_title}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'{rows}<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>{content}{marks}{title}</svg>'
    )


def _steps(places: Values, shares: Values) -> str:
    """A share holds from just above the threshold before to its own."""
    path = f"M{places[0]:.1f} {_y(shares[0]):.1f}"
    for x, share in zip(places[1:], shares[1:], strict=True):
        path += f"V{_y(share):.1f}H{x:.1f}"
    return path


def _y(share: Any) -> float:
    return float(TOP + (1 - share) * (HEIGHT - BOTTOM - TOP))


def _range(thresholds: Values, threshold: float | None) -> tuple[float, float]:
    ends = [float(thresholds[0]), float(thresholds[-1])]
    return padded_range(ends if threshold is None or not math.isfinite(threshold) else [*ends, threshold])
