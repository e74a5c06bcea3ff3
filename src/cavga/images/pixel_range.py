"""Which of the 16 bits of a grey photograph its camera fills: decided once for a set, and kept by its model. No torch.

Cameras of 10, 12 and 14 bits write their values into files of 16. Read as 16 bits they are nearly black.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

FULL_DEPTH = 16
DEPTHS = (8, 10, 12, 14, FULL_DEPTH)  # of cameras; 8: values of an 8-bit picture in a file of 16
_DEPTH_KEY, _SEEN_KEY = "bit_depth", "bit_depths_in_use"


@dataclass(frozen=True)
class PixelRange:
    """What 16-bit greys of a set are scaled by: 2 ** `bit_depth` - 1 becomes white."""

    bit_depth: int = FULL_DEPTH
    in_use: tuple[int, ...] | None = None
    """The depths that the training photographs make use of, () of 8-bit files alone; None: not known."""

    @property
    def is_unusual(self) -> bool:
        """Whether 16-bit greys leave bits unused, or use more in some photographs than in others."""
        return bool(self.in_use) and self.in_use != (FULL_DEPTH,)

    def __str__(self) -> str:
        used = " or ".join(map(str, self.in_use or (self.bit_depth,)))
        return f"16-bit greys use only {used} of their bits: all are read as {self.bit_depth}"

    def described(self) -> dict[str, Any]:
        """As it goes into a model's preprocessing; the inverse of `pixel_range_of`."""
        return {} if self.in_use is None else {_DEPTH_KEY: self.bit_depth, _SEEN_KEY: list(self.in_use)}

    def remark(self, depth: int | None) -> str | None:
        """What is to be said of a photograph whose 16-bit greys use `depth` bits (None: it has 8-bit pixels)."""
        if depth is None or self.in_use is None:
            return None
        if not self.in_use:
            return None if depth == FULL_DEPTH else f"uses {depth} of its 16 bits, and the model has learnt 8-bit files"
        if min(self.in_use) <= depth <= max(self.in_use):
            return None
        learnt = " to ".join(str(bits) for bits in sorted({min(self.in_use), max(self.in_use)}))
        return f"uses {depth} of its 16 bits, the photographs that the model has learnt use {learnt}"


def pixel_range_of(preprocessing: Mapping[str, Any]) -> PixelRange:
    """The range of a model; one from before it was written reads all 16 bits."""
    if _DEPTH_KEY not in preprocessing:
        return PixelRange()
    return PixelRange(int(preprocessing[_DEPTH_KEY]), tuple(preprocessing[_SEEN_KEY]))


def depth_in_use(highest: int, declared: int | None = None) -> int:
    """The smallest of DEPTHS that holds a photograph's highest value, and no less than its file declares.

    A declaration that the values go beyond says how many bits were measured, not where they lie.
    """
    used = next((depth for depth in DEPTHS if highest < 2**depth), FULL_DEPTH)
    if declared is None or highest >= 2**declared:
        return used
    return next((depth for depth in DEPTHS if depth >= max(used, declared)), FULL_DEPTH)


def range_of_set(depths: Collection[int | None]) -> PixelRange:
    """The range of a set, of what `depth_in_use` says of each photograph; None stands for one of 8 bits a channel."""
    found = tuple(sorted({depth for depth in depths if depth is not None}))
    return PixelRange(max(found, default=FULL_DEPTH), found)
