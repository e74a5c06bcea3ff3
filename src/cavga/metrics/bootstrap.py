"""How two methods differ on the same images: B - A with a 95 % interval, by a paired bootstrap.

The same images are drawn for both methods, so what makes an image hard for both does not count as a difference. Normal
and anomalous images are drawn apart, as many of each as there are. Higher scores are more anomalous. No torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cavga.arrays import Floats
from cavga.metrics.curves import auroc_of_counts, average_precision_of_counts, chunk_sizes, percentile_interval

NUM_RESAMPLES = 10_000
SEED = 0

Draws = Floats  # resamples x images: how often each image was drawn
Statistic = Callable[[Draws], Floats]  # resamples x images -> one value for each resample


@dataclass(frozen=True)
class Difference:
    """One figure of A and of B, and B - A with the interval that holds the middle 95 % of its resamples."""

    a: float
    b: float
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        return self.b - self.a


@dataclass(frozen=True, eq=False)
class ImagesOf:
    """The images of one method: scores, labels, and which are predicted anomalous, None where nobody decided."""

    scores: ArrayLike
    is_anomalous: Floats  # 1 or 0
    predicted: Floats | None


@dataclass(frozen=True, eq=False)
class PixelsOf:
    """The pixels of every image by their value: `normal` and `anomalous` are images x bins, bins ascending.

    `first_predicted_anomalous` is the first bin at or above the threshold, None without one.
    """

    normal: Floats
    anomalous: Floats
    first_predicted_anomalous: int | None


def paired_differences(
    pairs: Mapping[str, tuple[Statistic, Statistic]],
    is_anomalous: ArrayLike,
    *,
    seed: int = SEED,
    num_resamples: int = NUM_RESAMPLES,
) -> dict[str, Difference]:
    """B - A of every statistic (of A, of B) over the images whose labels are given.

    Resamples in which a statistic has no value are left out of it.
    """
    labels = np.asarray(is_anomalous, dtype=np.bool_)
    rng = np.random.default_rng(seed)
    whole = np.ones((1, len(labels)))
    found: dict[str, list[Floats]] = {name: [] for name in pairs}
    for size in chunk_sizes(num_resamples, len(labels)):
        draws = _draws(rng, labels, size)
        with np.errstate(invalid="ignore", divide="ignore"):  # no image with a defect among those drawn
            for name, (of_a, of_b) in pairs.items():
                found[name].append(of_b(draws) - of_a(draws))
    result = {}
    for name, (of_a, of_b) in pairs.items():
        samples = np.concatenate(found[name])
        low, high = percentile_interval(samples[np.isfinite(samples)])
        result[name] = Difference(float(of_a(whole)[0]), float(of_b(whole)[0]), (low, high))
    return result


def auroc_of(scores: ArrayLike, is_anomalous: ArrayLike) -> Statistic:
    """The area under the ROC curve of images."""
    count = _counter(scores, is_anomalous)
    return lambda draws: auroc_of_counts(*count(draws))


def average_precision_of(scores: ArrayLike, is_anomalous: ArrayLike) -> Statistic:
    """The average precision of images."""
    count = _counter(scores, is_anomalous)
    return lambda draws: average_precision_of_counts(*count(draws))


def recall_of(images: ImagesOf) -> Statistic:
    """The share of the anomalous images which is predicted anomalous; there must be decisions."""
    return _share_predicted_anomalous(images, among=images.is_anomalous)


def false_alarm_rate_of(images: ImagesOf) -> Statistic:
    """The share of the normal images which is predicted anomalous; there must be decisions."""
    return _share_predicted_anomalous(images, among=1 - images.is_anomalous)


def balanced_accuracy_of(images: ImagesOf) -> Statistic:
    """The mean of recall and of what is left of 1 by the false alarm rate."""
    recall, false_alarm_rate = recall_of(images), false_alarm_rate_of(images)
    return lambda draws: (recall(draws) + 1 - false_alarm_rate(draws)) / 2


def _share_predicted_anomalous(images: ImagesOf, among: Floats) -> Statistic:
    assert images.predicted is not None
    hits = among * images.predicted
    return lambda draws: (draws @ hits) / (draws @ among)


def pixel_auroc_of(pixels: PixelsOf) -> Statistic:
    """The area under the ROC curve of all pixels together, whole images drawn."""
    return lambda draws: auroc_of_counts(draws @ pixels.normal, draws @ pixels.anomalous)


def iou_of(pixels: PixelsOf) -> Statistic:
    """IoU of the anomalous class over all pixels at once, at the threshold; it must be there."""
    alarms = pixels.normal[:, pixels.first_predicted_anomalous :].sum(axis=1)
    hits = pixels.anomalous[:, pixels.first_predicted_anomalous :].sum(axis=1)
    truth = pixels.anomalous.sum(axis=1)
    return lambda draws: (draws @ hits) / (draws @ (truth + alarms))


def iou_per_image_of(pixels: PixelsOf) -> Statistic:
    """The mean IoU at the threshold of the images with an anomalous pixel."""
    alarms = pixels.normal[:, pixels.first_predicted_anomalous :].sum(axis=1)
    hits = pixels.anomalous[:, pixels.first_predicted_anomalous :].sum(axis=1)
    truth = pixels.anomalous.sum(axis=1)
    counted = (truth > 0).astype(np.float64)
    ious = counted * hits / np.maximum(truth + alarms, 1)
    return lambda draws: (draws @ ious) / (draws @ counted)


def _draws(rng: np.random.Generator, labels: NDArray[np.bool_], size: int) -> Draws:
    draws = np.zeros((size, len(labels)))
    for label in (False, True):
        chosen = np.flatnonzero(labels == label)
        if not len(chosen):
            continue
        draws[:, chosen] = rng.multinomial(len(chosen), np.full(len(chosen), 1 / len(chosen)), size=size)
    return draws


def _counter(scores: ArrayLike, is_anomalous: ArrayLike) -> Callable[[Draws], tuple[Floats, Floats]]:
    """What counts the drawn normal and anomalous images of each distinct score, ascending."""
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(is_anomalous, dtype=np.bool_)
    order = np.argsort(values, kind="stable")
    _, starts = np.unique(values[order], return_index=True)
    weights = [(labels == label)[order].astype(np.float64) for label in (False, True)]

    def count(draws: Draws) -> tuple[Floats, Floats]:
        ordered = draws[:, order]
        normal, anomalous = (np.add.reduceat(ordered * weight, starts, axis=1) for weight in weights)
        return normal, anomalous

    return count
