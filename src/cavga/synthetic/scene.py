"""What an anomaly for training is made from: two good images, and where there is something to see. No torch."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Photograph
from cavga.synthetic.placement import Grid, draw_place, grain_of, is_grey, local_structure
from cavga.synthetic.primitives import Pixels, Plane

STRUCTURE_SHARE = 0.03  # of the side, round a place
FLOOR_QUANTILE = 0.2  # of the local structure: less is taken for background
ANYWHERE = 0.15  # share of places that are drawn without regard to what is there

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Scene:
    """A good image and another of its set, of one size."""

    photograph: Photograph
    other_photograph: Photograph

    @cached_property
    def is_grey(self) -> bool:
        return is_grey(self.photograph)

    @cached_property
    def image(self) -> Pixels:
        return (self.photograph[..., :1] if self.is_grey else self.photograph).astype(np.float32)

    @cached_property
    def other(self) -> Pixels:
        """With as many channels as the image has."""
        other = self.other_photograph.astype(np.float32)
        if self.is_grey:
            other = (other[..., :1] + other[..., 1:2] + other[..., 2:]) / np.float32(3)
        return other

    @cached_property
    def structure(self) -> Grid:
        return _foreground_structure(self.photograph)

    @cached_property
    def other_structure(self) -> Grid:
        return _foreground_structure(self.other_photograph)

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    @property
    def side(self) -> float:
        return float(np.sqrt(self.shape[0] * self.shape[1]))

    @property
    def grain(self) -> float:
        """Pixels: what is finer than this counts less."""
        return grain_of(self.shape)

    def draw_place(self, rng: np.random.Generator, radius: float = 0.0) -> tuple[int, int]:
        structure = np.ones((1, 1)) if rng.uniform() < ANYWHERE else self.structure
        return draw_place(structure, self.shape, radius, rng)

    def draw_source(self, rng: np.random.Generator) -> tuple[int, int]:
        """A place in the other image."""
        return draw_place(self.other_structure, self.shape, 0.0, rng)

    def around(self, place: tuple[int, int], reach: float) -> tuple[Window, tuple[Grid, Grid]]:
        """The window within `reach` px of a place, and its rows and columns counted from there."""
        whole = int(np.ceil(reach))
        spans = [(max(0, c - whole), min(n, c + whole + 1)) for c, n in zip(place, self.shape, strict=True)]
        y, x = (np.arange(*span, dtype=np.float64) - c for span, c in zip(spans, place, strict=True))
        return (slice(*spans[0]), slice(*spans[1])), (y[:, None] + 0 * x, x + 0 * y[:, None])

    def colour_off(self, place: tuple[int, int], contrast: float, rng: np.random.Generator) -> Plane:
        """A colour that lies `contrast` grey levels from that of a place, of another hue or not."""
        window, _ = self.around(place, 4.0)
        hue = rng.uniform(0, 1, size=self.image.shape[2:]) ** rng.choice([0, 1])
        shift = contrast * rng.choice([-1, 1]) * hue / hue.max()
        return (self.image[window].mean(axis=(0, 1)) + shift).astype(np.float32)


def _foreground_structure(photograph: Photograph) -> Grid:
    structure = local_structure(photograph, STRUCTURE_SHARE)
    return np.maximum(structure - np.quantile(structure, FLOOR_QUANTILE), 0)


def mixed(before: Pixels, after: NDArray[np.floating], opacity: NDArray[np.floating]) -> Pixels:
    """Before where the opacity is 0, after where it is 1."""
    return (before + opacity[..., None] * (after - before)).astype(np.float32)


def box_of(is_inside: NDArray[np.bool_]) -> Window:
    """The smallest window that holds all that is inside."""
    rows, columns = (np.flatnonzero(is_inside.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
