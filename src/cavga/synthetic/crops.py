"""Crops that a network without pretrained weights is trained on: of synthetic and of normal images. No torch.

Anomalies are made once and kept; which cut of one is seen, how it is turned and how bright it is are functions of
(seed, epoch, index), so that a run that was killed and resumed ends with the same bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cavga.synthetic.strong import synthesise_strong_anomaly

SYNTHETIC_PER_IMAGE, MAX_SYNTHETIC = 12, 1500
SYNTHETIC_PER_NORMAL = 3  # images with synthetic anomalies for one without
MIN_CUT = 64  # px a side; half of the image's if that is more
SHARE_AT_ANOMALY = 0.75  # of the cuts of synthetic images that hold an anomalous pixel for sure
MAX_GAIN, MAX_SHIFT = 0.2, 0.08  # how much lighter or of more contrast: the next band or lamp is not quite the same


@dataclass(frozen=True, eq=False)
class SyntheticImages:
    """Images with synthetic anomalies, how anomalous each pixel is (255 wholly), and the normal ones below them."""

    images: NDArray[np.uint8]  # synthetic x H x W x 3
    labels: NDArray[np.uint8]  # synthetic x H x W
    normal: NDArray[np.uint8]

    def __len__(self) -> int:
        """Items of one epoch: every synthetic image once, and good ones in between."""
        return len(self.images) + max(1, len(self.images) // SYNTHETIC_PER_NORMAL)

    def item(self, index: int, *, seed: int, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One cut of an image (c x c x 3) and how anomalous its pixels are (c x c)."""
        rng = np.random.default_rng([seed, epoch, index])
        if index < len(self.images):
            image, label = self.images[index], self.labels[index]
        else:
            image = self.normal[rng.integers(len(self.normal))]
            label = np.zeros(image.shape[:2], dtype=np.uint8)
        window = _window(label, rng)
        turns, is_flipped = int(rng.integers(4)), bool(rng.integers(2))
        image, label = (np.rot90(part[window], turns) for part in (image, label))
        if is_flipped:
            image, label = image[:, ::-1], label[:, ::-1]
        return _relit(image, rng), label


def synthesise_images(normal: NDArray[np.uint8], *, seed: int) -> SyntheticImages:
    """Anomalies on the normal images in turn; one that shows nothing is left out."""
    synthetic = list(_synthesised(normal, seed))
    if (
        not synthetic
    ):  # images of one grey, or too small: then there is nothing to learn, and training says so by its loss
        synthetic = [(np.asarray(normal[0]), np.zeros(normal.shape[1:3], dtype=np.uint8))]
    images, labels = (np.stack(parts) for parts in zip(*synthetic, strict=True))
    return SyntheticImages(images, labels, normal)


def synthetic_batch(
    synthetic: SyntheticImages, indices: NDArray[np.intp], *, seed: int, epoch: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The items at `indices` as (batch, c, c, 3) and (batch, c, c)."""
    items = [synthetic.item(int(index), seed=seed, epoch=epoch) for index in indices]
    return np.stack([image for image, _ in items]), np.stack([label for _, label in items])


def _synthesised(normal: NDArray[np.uint8], seed: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    for number in range(min(SYNTHETIC_PER_IMAGE * len(normal), MAX_SYNTHETIC)):
        rng = np.random.default_rng([seed, number])
        image, other = (np.asarray(normal[i]) for i in (number % len(normal), rng.integers(len(normal))))
        result = synthesise_strong_anomaly(image, other, rng)
        if result is not None:
            yield result[0], np.rint(255 * result[1]).astype(np.uint8)


def _window(label: NDArray[np.uint8], rng: np.random.Generator) -> tuple[slice, slice]:
    """A square cut: anywhere, or over an anomalous pixel."""
    side = min(*label.shape, max(MIN_CUT, min(label.shape) // 2))
    starts = [int(rng.integers(n - side + 1)) for n in label.shape]
    rows, columns = np.nonzero(label > 127)
    if len(rows) and rng.uniform() < SHARE_AT_ANOMALY:
        chosen = int(rng.integers(len(rows)))
        centre = (int(rows[chosen]), int(columns[chosen]))
        starts = [int(np.clip(at - rng.integers(side), 0, n - side)) for at, n in zip(centre, label.shape, strict=True)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def _relit(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """In a little more or less contrast and light."""
    gain, shift = np.exp(rng.uniform(-MAX_GAIN, MAX_GAIN)), 255 * rng.uniform(-MAX_SHIFT, MAX_SHIFT)
    middle = float(image.mean())
    return np.clip(np.rint((image - middle) * gain + middle + shift), 0, 255).astype(np.uint8)
