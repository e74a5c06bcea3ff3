"""The blur that PaDiM and PatchCore share."""

from cavga.model.blur import blurred
from cavga.shapes import ScoreMap

SIGMA = 4.0  # px, the papers'


def blurred_as_published(maps: ScoreMap) -> ScoreMap:
    """Maps under a Gaussian of SIGMA pixels, cut off at four of them."""
    return blurred(maps, sigma=SIGMA, reach=int(4 * SIGMA))
