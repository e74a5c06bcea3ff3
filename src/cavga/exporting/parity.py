"""Whether an exported graph says what the model in PyTorch says, on real photographs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Photograph
from cavga.errors import ExportError
from cavga.images.resize import resized
from cavga.inference.engine import Engine, EngineOutput
from cavga.progress import SILENT, Progress, counted

TOLERANCE = 1e-4  # of the threshold
BATCHES = (1, 2, 7)
NUM_SIZES = 3  # that all photographs are compared at in batches
MAX_SIDE = 1024  # px, of the photographs that are compared in batches


@dataclass(frozen=True)
class ExportCheck:
    """How far an exported graph is from PyTorch: differences in units of the thresholds, decisions that changed.

    `decisions_changed` and `mask_pixels_changed` count those outside a band of TOLERANCE around the threshold, and
    `..._in_band` those within it. `sizes` are height and width of the photographs that were compared.
    """

    num_photographs: int
    batches: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    score_difference: float
    map_difference: float
    decisions_changed: int
    mask_pixels_changed: int
    decisions_changed_in_band: int
    mask_pixels_changed_in_band: int
    tolerance: float = TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self, images: str = "photographs") -> str:
        """What it means for whoever uses the file; `images` says what was compared."""
        if self.is_equal:
            return f"{self.num_photographs} {images} read the same in the exported file as in the model"
        return (
            f"{self.num_photographs} {images} read otherwise in the exported file: scores by up to "
            f"{self.score_difference:.1%} of the threshold, maps by {self.map_difference:.1%}; "
            f"{self.decisions_changed} verdicts and {self.mask_pixels_changed} pixels of masks changed"
        )

    @property
    def is_equal(self) -> bool:
        """Whether no difference is above TOLERANCE and no decision outside the band has changed."""
        is_within = max(self.score_difference, self.map_difference) <= TOLERANCE
        return is_within and not self.decisions_changed and not self.mask_pixels_changed

    def require_equality(self) -> None:
        """Raise ExportError if a difference is above TOLERANCE or a decision outside the band has changed."""
        if not self.is_equal:
            raise ExportError(
                f"the exported graph does not say what the model says: scores differ by {self.score_difference:.1e} "
                f"and maps by {self.map_difference:.1e} of their thresholds ({TOLERANCE:.0e} is allowed), "
                f"{self.decisions_changed} decisions and {self.mask_pixels_changed} mask pixels have changed; "
                "nothing was written"
            )


def check_parity(
    reference: Engine,
    exported: Engine,
    photographs: Sequence[Photograph],
    calibration: Mapping[str, Any],
    progress: Progress = SILENT,
) -> ExportCheck:
    """Score the photographs with both: in batches of 1, 2 and 7, at their own size and at others.

    The reference resizes beforehand, the exported graph by itself. `calibration` gives the units: the thresholds, or
    how far the scores that set them lie from them where that is more (a threshold may be 0).
    """
    ends = (calibration["score_min"], calibration["score_max"])
    score_unit = max(abs(reference.image_threshold), *(abs(end - reference.image_threshold) for end in ends))
    scores, maps, sizes = [], [], []
    progress.begin("export check", len(photographs) + NUM_SIZES * len(BATCHES), "batches")
    for batch in counted(_batches(photographs), progress):
        sizes.append(batch[0].shape[:2])
        expected = reference.score([reference.resize(photograph) for photograph in batch])
        found = exported.score(batch)
        map_unit = abs(reference.pixel_threshold) or float(np.abs(expected.maps).max())
        scores.append(_changes(expected.scores, found.scores, _decisions(expected, found, reference), score_unit,
                               reference.image_threshold))  # fmt: skip
        masks = (expected.masks, found.masks)
        maps.append(_changes(expected.maps, found.maps, masks, map_unit, reference.pixel_threshold))
    (score_difference, decisions, near), (map_difference, pixels, near_pixels) = _worst(scores), _worst(maps)
    return ExportCheck(
        num_photographs=len(photographs),
        batches=BATCHES,
        sizes=tuple(dict.fromkeys(sizes)),
        score_difference=score_difference,
        map_difference=map_difference,
        decisions_changed=decisions,
        mask_pixels_changed=pixels,
        decisions_changed_in_band=near,
        mask_pixels_changed_in_band=near_pixels,
    )


Changes = tuple[float, int, int]  # largest difference, changed outside the band, changed within it
Decisions = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def _batches(photographs: Sequence[Photograph]) -> Iterator[list[Photograph]]:
    """Every photograph as it is, then all in batches of one size: not larger, smaller and of another shape."""
    yield from ([photograph] for photograph in photographs)
    height, width = (min(side, MAX_SIDE) for side in photographs[0].shape[:2])
    for size in ((height, width), (max(1, height // 2), max(1, width // 3)), (height + 13, width)):
        pictures = [resized(photograph, size) for photograph in photographs]
        for count in BATCHES:
            yield [pictures[i % len(pictures)] for i in range(count)]


def _decisions(expected: EngineOutput, found: EngineOutput, engine: Engine) -> Decisions:
    return expected.scores >= engine.image_threshold, found.scores >= engine.image_threshold


def _changes(
    expected: NDArray[np.float32], found: NDArray[np.float32], decisions: Decisions, unit: float, threshold: float
) -> Changes:
    is_near = np.abs(expected - threshold) <= TOLERANCE * unit
    is_changed = decisions[0] != decisions[1]
    difference = float(np.abs(expected - found).max()) / unit
    return difference, int((is_changed & ~is_near).sum()), int((is_changed & is_near).sum())


def _worst(changes: Sequence[Changes]) -> Changes:
    differences, changed, near = zip(*changes, strict=True)
    return max(differences), sum(changed), sum(near)
