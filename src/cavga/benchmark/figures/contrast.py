"""How far a defect stands out in grey, and whether a model's overlap with it goes by that."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.metrics.curves import import_extra, percentile_interval
from cavga.rendering.heatmaps import outer_line

RING_SHARE = 0.03  # of the longer side: how wide the ring round a defect is
BINS = (0.25, 0.5, 1.0, 2.0)  # of contrast, in standard deviations of the image's grey
NUM_RESAMPLES, SEED = 1000, 0
MIN_CASES = 4  # below that a partial correlation has no freedom left
DEFINITION = (
    "Contrast of a defect: the absolute difference of the mean grey inside its mask and in a ring round it "
    f"({RING_SHARE:.0%} of the image's longer side wide), divided by the standard deviation of the image's grey. "
    "Defects that differ in texture, colour or shape but not in mean grey have a low contrast by this measure. Masks "
    "and maps are at the model's input size."
)


def contrast_of(photograph: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float | None:
    """The contrast of what the mask shows; None where there is no ring, nothing inside, or one grey alone."""
    grey = np.asarray(Image.fromarray(photograph).convert("L"), dtype=np.float64)
    ring = outer_line(mask, max(1, round(RING_SHARE * max(mask.shape)))) & ~mask
    std = grey.std()
    if not mask.any() or not ring.any() or std == 0:
        return None
    return float(abs(grey[mask].mean() - grey[ring].mean()) / std)


def bin_of(contrast: float) -> str:
    """The bin of a contrast, as it is called."""
    return bin_names()[int(np.searchsorted(BINS, contrast, side="right"))]


def bin_names() -> list[str]:
    """The bins from the lowest contrast to the highest."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(BINS)]
    return [f"below {BINS[0]:g}", *between, f"{BINS[-1]:g} and above"]


def rank_correlation(
    first: Sequence[float], second: Sequence[float], *, given: Sequence[float] | None = None
) -> tuple[float, list[float]] | None:
    """Spearman's correlation with its 95 % interval by bootstrap, or the partial one with `given` held fixed.

    None below four cases, where one is constant, and where `given` says all of one.
    """
    cases = np.array([first, second] if given is None else [first, second, given], dtype=np.float64)
    num = cases.shape[1]
    if num < MIN_CASES:
        return None
    drawn = np.random.default_rng(SEED).integers(0, num, (NUM_RESAMPLES, num))
    value, resampled = float(_spearman(cases)), _spearman(cases[:, drawn])
    return (value, percentile_interval(resampled[np.isfinite(resampled)])) if np.isfinite(value) else None


def _spearman(cases: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (partial) correlation of the ranks along the last axis, equal values at their mean rank; NaN: not defined."""
    ranks = [import_extra("scipy.stats").rankdata(values, axis=-1) for values in cases]
    first, second, *given = (values - values.mean(axis=-1, keepdims=True) for values in ranks)
    plain = _correlation(first, second)
    if not given:
        return plain
    of_first, of_second = _correlation(first, given[0]), _correlation(second, given[0])
    scale = np.sqrt(np.maximum((1 - of_first**2) * (1 - of_second**2), 0))
    is_defined = scale > 1e-9
    return np.where(is_defined, (plain - of_first * of_second) / np.where(is_defined, scale, 1), np.nan)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of centred values along the last axis; NaN where one is constant."""
    scale = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    return np.where(scale > 0, (first * second).sum(axis=-1) / np.where(scale > 0, scale, 1), np.nan)
