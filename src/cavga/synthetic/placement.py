"""Where a synthetic anomaly goes and what outline it has: shared by the self-test's and training's. No torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cavga.arrays import Photograph

GRAINS_PER_SIDE = 256  # changes are averaged over this share of the side
THUMBNAIL_SIDE = 96  # px: enough to tell structure from empty background

Grid = NDArray[np.float64]  # h x w


def local_structure(photograph: Photograph, share: float) -> Grid:
    """How much there is to see round each place (within a share of the side), on a thumbnail."""
    height, width = photograph.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = np.asarray(Image.fromarray(photograph).convert("L").resize(shape, Image.Resampling.BOX), dtype=np.float64)
    window = max(3, round(share * THUMBNAIL_SIDE))
    mean = ndimage.uniform_filter(grey, window)
    return np.sqrt(np.maximum(ndimage.uniform_filter(grey**2, window) - mean**2, 0))


def is_grey(photograph: Photograph) -> bool:
    """Whether all three channels are the same."""
    return all(np.array_equal(photograph[..., 0], photograph[..., c]) for c in (1, 2))


def grain_of(shape: tuple[int, ...]) -> float:
    """Pixels, by height and width: what is finer than this counts less, as noise that moved is no change."""
    return max(1.0, float(np.sqrt(shape[0] * shape[1])) / GRAINS_PER_SIDE)


def draw_place(structure: Grid, shape: tuple[int, int], radius: float, rng: np.random.Generator) -> tuple[int, int]:
    """A place with room for the radius, the likelier the more there is to see: parts, not what they lie on."""
    weights = structure.ravel() + 1e-3
    row, column = np.unravel_index(rng.choice(structure.size, p=weights / weights.sum()), structure.shape)
    place = (np.array([row, column]) + rng.uniform(size=2)) * np.array(shape) / structure.shape
    y, x = np.clip(place, radius, np.array(shape) - 1 - radius).astype(int)
    return int(y), int(x)


def uneven_reach(angle: Grid, lobes: Sequence[tuple[int, float]], rng: np.random.Generator) -> Grid:
    """How far an uneven outline lies from its centre at each angle, about 1; lobes: how many, and how much at most."""
    reach = np.full_like(angle, 1.0)
    for k, most in lobes:
        reach += rng.uniform(0, most) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return reach
