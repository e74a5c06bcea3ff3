"""How far a defect stands out in grey, and whether a model's overlap with it goes by that."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.metrics import import_extra, percentile_interval
from cavga.pictures import outer_line

RING_SHARE = 0.03  # of the longer side: how wide the ring round a defect is
BINS = (0.25, 0.5, 1.0, 2.0)  # of contrast, in grey deviations of the image
NUM_RESAMPLES, SEED = 1000, 0
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
    deviation = grey.std()
    if not mask.any() or not ring.any() or deviation == 0:
        return None
    return float(abs(grey[mask].mean() - grey[ring].mean()) / deviation)


def bin_of(contrast: float) -> str:
    """The bin of a contrast, as it is called."""
    return bin_names()[int(np.searchsorted(BINS, contrast, side="right"))]


def bin_names() -> list[str]:
    """The bins from the lowest contrast to the highest."""
    between = [f"{low:g} to {high:g}" for low, high in pairwise(BINS)]
    return [f"below {BINS[0]:g}", *between, f"{BINS[-1]:g} and above"]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, list[float]] | None:
    """Spearman's correlation with its 95 % interval by bootstrap; None below three pairs, or where one is constant."""
    pairs = np.array([first, second], dtype=np.float64)
    if pairs.shape[1] < 3 or any(np.ptp(values) == 0 for values in pairs):
        return None
    rng, resampled = np.random.default_rng(SEED), []
    for _ in range(NUM_RESAMPLES):
        drawn = pairs[:, rng.integers(0, pairs.shape[1], pairs.shape[1])]
        if all(np.ptp(values) for values in drawn):
            resampled.append(_spearman(drawn))
    return _spearman(pairs), percentile_interval(np.array(resampled))


def _spearman(pairs: NDArray[np.float64]) -> float:
    """The correlation of the ranks, of equal values their mean rank."""
    ranks = [import_extra("scipy.stats").rankdata(values) for values in pairs]
    return float(np.corrcoef(ranks)[0, 1])
