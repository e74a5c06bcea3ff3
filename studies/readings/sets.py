"""The images of the study in memory: training, held-out normal, anomalies made on those, and test.

The choice of a reading looks at held-out and made images alone; test images are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cavga.data.catalog import load_catalog
from cavga.data.records import ImageRecord, hold_out
from cavga.images.decode import read_image
from cavga.images.resize import resized
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, synthesise_controlled_anomaly
from studies.rows import mask_at

TILE, SCREW, DIGIT = "magnetic_tile", "mvtec_ad/screw", "mnist.npz, 8"
PAPERS = ("piped_paper, GLA01", "piped_paper, FVN02")  # two of the bundled ones
MADE_SEED, NUM_MADE, MAX_HELD = 5, 120, 80
MADE_SIZES = (0.12, 0.25, 0.45)  # of the side; the self-test's smaller ones do not show at 64 px
DIGIT_SIDE, DIGITS = 32, (1000, 80, 200, 360)  # trained on, held out, good and bad tested

Pixels = NDArray[np.uint8]
Masks = NDArray[np.bool_]


@dataclass(frozen=True)
class ImageSet:
    """One data set at one size, images (number, height, width, 3)."""

    name: str
    fitted: Pixels
    held: Pixels
    made: Pixels
    made_masks: Masks
    test: Pixels
    labels: NDArray[np.int64]
    test_masks: Masks | None
    """None where nobody has marked the anomalies."""

    @property
    def side(self) -> int:
        return self.fitted.shape[1]


def load_set(root: Path, name: str, side: int) -> ImageSet:
    """Read, split and resize a set, and make anomalies on its held-out images; always the same ones."""
    if name == DIGIT:
        return _digits(root / "mnist.npz", int(name[-1]))
    folder, _, paper = name.partition(", ")
    catalog = load_catalog(root / folder)
    fitted, held = hold_out(_of_paper(catalog.split("train"), paper), fraction=0.2, seed=0)
    tested = _of_paper(catalog.split("test"), paper)
    empty = np.zeros((side, side), dtype=np.bool_)
    images = [_read(records, side) for records in (fitted, held[:MAX_HELD], tested)]
    return ImageSet(
        name,
        *images[:2],
        *made_on(images[1]),
        images[2],
        np.array([record.label for record in tested]),
        np.stack([mask_at(record, side) if record.mask_paths else empty for record in tested]),
    )


def made_on(held: Pixels) -> tuple[Pixels, Masks]:
    """Anomalies of every type and contrast of the self-test in turn, about NUM_MADE, and their masks."""
    rng = np.random.default_rng(MADE_SEED)
    combinations = list(product(CONTROLLED_NAMES, MADE_SIZES, CONTRASTS))
    order = rng.permutation(len(combinations))
    found = []
    for number in range(NUM_MADE):
        kind, size, contrast = combinations[order[number % len(order)]]
        image = held[number % len(held)]
        found.append(synthesise_controlled_anomaly(image, kind, size=size, contrast=contrast, rng=rng))
    kept = [made for made in found if made is not None]
    return np.stack([image for image, _ in kept]), np.stack([mask for _, mask in kept])


def _of_paper(records: Sequence[ImageRecord], paper: str) -> list[ImageRecord]:
    return [record for record in records if record.path.name.startswith(paper)]


def _read(records: Sequence[ImageRecord], side: int) -> Pixels:
    return np.stack([resized(read_image(record.path), (side, side)) for record in records])


def _digits(path: Path, normal: int) -> ImageSet:
    """One class of MNIST normal, at the 32 px of its table, with a black border."""
    content = np.load(path)
    grey = {part: np.pad(content[f"x_{part}"], ((0, 0), (2, 2), (2, 2))) for part in ("train", "test")}
    images = {part: np.repeat(values[..., None], 3, axis=3) for part, values in grey.items()}
    own = images["train"][content["y_train"] == normal]
    is_own = content["y_test"] == normal
    good, bad = images["test"][is_own][: DIGITS[2]], images["test"][~is_own][: DIGITS[3]]
    held = own[DIGITS[0] : sum(DIGITS[:2])]
    labels = np.repeat([0, 1], [len(good), len(bad)])
    return ImageSet(DIGIT, own[: DIGITS[0]], held, *made_on(held), np.concatenate([good, bad]), labels, None)
