"""What a model says of one photograph: numbers, a line of predictions.jsonl, and a picture of it. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import Photograph
from cavga.calibration.normal_scores import NormalScores
from cavga.errors import CavgaError, DataError, UsageError
from cavga.images.decode import read_image
from cavga.images.pixel_range import PixelRange
from cavga.images.regions import MAX_REGIONS, Region, count_regions, find_regions
from cavga.images.roi import Roi
from cavga.inference.lines import PredictionLine, prediction_line, region_line
from cavga.rendering.overlays import Verdict, captioned_overlay, different
from cavga.rendering.scale import MapScale

NOTEBOOK_SIDE = 640  # px: the longer side of a picture that a notebook shows and keeps


@dataclass(frozen=True, eq=False)
class Display:
    """What a picture takes beside the prediction; `pixels` are those of what was no file, None for a file."""

    scale: MapScale
    pixel_range: PixelRange
    roi: Roi | None
    pixels: Photograph | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What the model says of one image.

    `score` is raw: compare it with `threshold`, not with 1. `anomaly_map` (float32) and `mask` (bool)
    have the model's input size; `image_size` is the photograph's own height and width. Of a model with tiles or a
    region of interest they have the frame of the whole photograph, as many pixels for each of its as in a tile
    (cavga.images.tiling); outside the region the map is as low as inside, at most 0, and nothing is masked. `path` is
    the photograph's file, None for what was no file: of that the pixels are kept, for `overlay`.
    """

    score: float
    threshold: float
    is_anomalous: bool
    anomaly_map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    image_size: tuple[int, int]
    milliseconds: float
    path: Path | None = None
    remarks: tuple[str, ...] = ()
    """What is to be said of how the file was read: further pages, another range of greys."""
    normal_scores: NormalScores | None = None
    """Those of the good photographs that set the threshold; None of a model that did not keep them."""
    display: Display | None = None
    """What `overlay` draws with; None of a prediction that no loaded detector made."""

    def __repr__(self) -> str:
        name = "an image" if self.path is None else str(self.path)
        rarity = "" if self.p_value_in_words is None else f" ({self.p_value_in_words})"
        score, threshold = different("score", self.score, "threshold", self.threshold)
        return f"Prediction({name}: {'anomalous' if self.is_anomalous else 'normal'}, {score}, {threshold}{rarity})"

    def _repr_png_(self) -> bytes | None:
        """The overlay, for notebooks; None where it cannot be drawn any more, and the text is shown."""
        try:
            picture = self.overlay()
        except CavgaError:
            return None
        picture.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
        file = BytesIO()
        picture.save(file, "PNG", optimize=True)
        return file.getvalue()

    @property
    def p_value(self) -> float | None:
        """How rare such a score is among good photographs, 0 to 1: see `NormalScores.p_value`; None where not known."""
        return None if self.normal_scores is None else self.normal_scores.p_value(self.score)

    @property
    def p_value_in_words(self) -> str | None:
        """The same for a person: "1 in 340 good ones scores this high"."""
        return None if self.normal_scores is None else self.normal_scores.in_words(self.score)

    def regions(self) -> list[Region]:
        """The regions of the mask in pixels of the photograph, the largest score first; found anew at each call.

        The mask has a threshold of its own: regions of a photograph that is not anomalous are below the image
        threshold, and an anomalous one may have none.
        """
        return find_regions(self.mask, self.anomaly_map, self.image_size)

    def overlay(self, *, threshold: float | None = None) -> Image.Image:
        """The picture that `cavga predict` writes: map and outline on the photograph, a caption below it.

        A file is read again. `threshold` in place of the prediction's decides how it is outlined and captioned. Raises
        DataError where the file is gone or was changed, UsageError for a prediction that no loaded detector made.
        """
        if self.display is None:
            raise UsageError("this prediction does not know its model's scale: only a detector's have an overlay")
        roi = None if self.display.roi is None else self.display.roi.marked(self.image_size)
        cut = self.threshold if threshold is None else threshold
        verdict = Verdict(self.score, cut, self.p_value_in_words, has_region=bool(self.mask.any()))
        picture = captioned_overlay(self._pixels(self.display), self.anomaly_map, verdict, self.display.scale, roi)
        return Image.fromarray(picture)

    def to_dict(self) -> dict[str, Any]:
        """What a line of predictions.jsonl says, as plain values for JSON or a table; `path` is "" without a file."""
        return self.line("" if self.path is None else self.path.as_posix(), self.threshold, self.regions()).as_dict()

    def line(
        self, path: str, threshold: float, regions: Sequence[Region], *, error: str | None = None, **more: Any
    ) -> PredictionLine:
        """The line of predictions.jsonl, at the threshold of a decision; `regions` as `regions()` gives them."""
        count = len(regions) if len(regions) < MAX_REGIONS else count_regions(self.mask)
        described = [region_line(region, is_anomalous=self.score >= threshold) for region in regions]
        more |= {"remarks": list(self.remarks)} if self.remarks else {}
        return prediction_line(
            path, score=self.score, threshold=threshold, p_value=self.p_value, error=error,
            milliseconds=self.milliseconds, num_regions=count, regions=described, **more,
        )  # fmt: skip

    def _pixels(self, display: Display) -> Photograph:
        if self.path is None:
            assert display.pixels is not None
            return display.pixels
        pixels = read_image(self.path, display.pixel_range)
        if pixels.shape[:2] != self.image_size:
            raise DataError(f"{self.path}: was changed after it was scored; predict again")
        return pixels
