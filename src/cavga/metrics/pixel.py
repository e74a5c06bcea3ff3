"""Pixel metrics of a whole test set in bounded memory: two passes over the maps, none of them kept.

First pass: PixelHistogram counts pixels by score, which gives every metric of the pooled pixels.
Second pass: PerImageCounts counts each image's pixels above a few hundred thresholds, which gives
what needs the images apart. Higher is more anomalous; `score >= threshold` means anomalous. No torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import AnomalyMap, Mask
from cavga.metrics.curves import (
    Keys,
    at_or_above,
    aupro_of_counts,
    auroc_of_counts,
    average_precision_of_counts,
    chunk_sizes,
    import_extra,
    last_reaching,
    num_at_or_above,
    order_preserving_keys,
    percentile_interval,
    scores_of_keys,
)
from cavga.metrics.image import image_iou, iou_per_image, iou_uflow

MAX_KEYS = 2**19  # distinct scores kept apart before bins are doubled: 15 MB
MAX_SHIFT = 8  # bits of a float32 ever given up: a bin is at most 2^-15 of its value, keys at most 2^24
BUFFERED_PIXELS = 2**20  # counted at a time: sorting one map after another would cost more than scoring
NUM_CANDIDATES = 512

Maps = Callable[[], Iterator[tuple[AnomalyMap, Mask]]]  # starts one pass over the test set


@dataclass(frozen=True)
class PixelReport:
    """The `pixel` part of metrics.json, the 95 % interval of its AUROC, and the counts that the two come from."""

    metrics: dict[str, float | list[int] | None]
    auroc_interval: list[float] | None
    per_image: "PerImageCounts"


def pixel_metrics(maps: Maps, threshold: float | None) -> PixelReport:
    """All pixel-level metrics at `threshold`; `maps` is called twice, once per pass.

    resolution is [H, W], or None where the maps differ in size; iou_*_oracle take the best single
    threshold of this very set. Without an anomalous pixel none can be told, without a threshold no
    other IoU.
    """
    histogram = PixelHistogram(threshold)
    ious, is_anomalous, shapes = [], [], set()
    for anomaly_map, mask in maps():
        histogram.update(anomaly_map, mask)
        if threshold is not None:
            ious.append(image_iou(at_or_above(anomaly_map, threshold), mask))
        is_anomalous.append(bool(mask.any()))
        shapes.add(anomaly_map.shape)
    # With the threshold in use among the candidates, no oracle can be worse than it.
    given = [] if threshold is None else [threshold]
    per_image = PerImageCounts(np.union1d(histogram.candidate_thresholds(), np.array(given, dtype=np.float32)))
    if any(is_anomalous):
        for anomaly_map, mask in maps():
            per_image.update(anomaly_map, mask)
    metrics: dict[str, float | list[int] | None] = {
        **histogram.metrics(),
        "iou_per_image": iou_per_image(ious, is_anomalous) if ious else None,
        "iou_dataset_oracle": _first(histogram.oracle_iou()),
        "iou_per_image_oracle": _first(per_image.oracle_iou()),
        "iou_uflow": iou_uflow(ious) if any(is_anomalous) else None,  # else 1 for calling nothing
        "threshold": None if threshold is None else float(threshold),
        "resolution": list(shapes.pop()) if len(shapes) == 1 else None,
    }
    return PixelReport(metrics, per_image.auroc_interval(), per_image)


class PixelHistogram:
    """Counts of normal and anomalous pixels by score, and the metrics of the pooled pixels.

    A score's key is its float32 bits in an order-preserving form. Keys are exact until there are
    more than `max_keys` of them; then bits are dropped, lowest first, at most MAX_SHIFT. A bin holds
    the scores from its lower edge (a float32) up to, but without, the next bin's.
    """

    def __init__(self, threshold: float | None = None, *, max_keys: int = MAX_KEYS) -> None:
        self.threshold = threshold
        self.num_regions = 0
        self.num_images = 0
        self._max_keys = max_keys
        self._shift = 0
        self._keys: Keys = np.empty(0, np.uint32)  # ascending
        self._counts = np.empty((3, 0))  # of each key: normal pixels, anomalous pixels, region weight
        self._buffer: list[tuple[Keys, Keys, NDArray[np.float64]]] = []
        self._num_buffered = 0
        self._num_hits = 0  # at the threshold: counted exactly, never from bins
        self._num_alarms = 0

    def update(self, anomaly_map: AnomalyMap, mask: Mask) -> None:
        """Count one image."""
        _check_map(anomaly_map, mask, index=self.num_images)
        weight = np.empty(0)
        if mask.any():
            regions, num_regions = import_extra("scipy.ndimage").label(mask, structure=np.ones((3, 3)))
            weight = 1 / np.bincount(regions.ravel())[regions[mask]]
            self.num_regions += int(num_regions)
        if self.threshold is not None:
            predicted = at_or_above(anomaly_map, self.threshold)
            self._num_hits += int(predicted[mask].sum())
            self._num_alarms += int(predicted[~mask].sum())
        keys = order_preserving_keys(anomaly_map)
        self._buffer.append((keys[~mask], keys[mask], weight))
        self._num_buffered += keys.size
        self.num_images += 1
        if self._num_buffered >= BUFFERED_PIXELS:
            self._count_buffer()

    def metrics(self) -> dict[str, float | None]:
        """Every metric of the pooled pixels, by its key in metrics.json."""
        return {
            "auroc": self.auroc(),
            "average_precision": self.average_precision(),
            "aupro": self.aupro(),
            "iou_dataset": self.iou(),
        }

    def auroc(self) -> float | None:
        """Area under the ROC curve of all pixels; None if one class is missing."""
        if not self._has_both():
            return None
        return float(auroc_of_counts(*self._counts[:2]))

    def average_precision(self) -> float | None:
        """Average precision of all pixels; None if one class is missing."""
        if not self._has_both():
            return None
        return float(average_precision_of_counts(*self._counts[:2]))

    def aupro(self) -> float | None:
        """Per-region overlap (8-connected regions); see aupro_of_counts."""
        if not self._has_both():
            return None
        return aupro_of_counts(*self._counts[::2], num_regions=self.num_regions)

    def iou(self) -> float | None:
        """IoU of the anomalous class over all pixels at once, at the threshold given at construction."""
        if self.threshold is None or not self._has_anomalous():
            return None
        return self._num_hits / (int(self._counts[1].sum()) + self._num_alarms)

    def oracle_iou(self) -> tuple[float, float] | None:
        """Best IoU over all pixels at once, and its threshold; None without an anomalous pixel."""
        if not self._has_anomalous():
            return None
        alarms, hits = (num_at_or_above(counts) for counts in self._counts[:2])
        ious = hits / (hits[0] + alarms)
        best = int(ious.argmax())
        given = self.iou()
        if self.threshold is not None and given is not None and given > ious[best]:
            return given, float(self.threshold)  # it cuts through a bin
        return float(ious[best]), float(self._lower_edges(self._keys[best : best + 1])[0])

    def candidate_thresholds(self, n: int = NUM_CANDIDATES) -> NDArray[np.float32]:
        """At most n bin edges, ascending from the lowest; every one if there are no more than n.

        Half are quantiles of all pixels, evenly spaced in the logarithm of the share above (dense
        near the top, where defects are); half are evenly spaced quantiles of the anomalous pixels.
        """
        self._count_buffer()
        if len(self._keys) <= n:
            return self._lower_edges(self._keys)
        above, hits = num_at_or_above(self._counts[0] + self._counts[1]), num_at_or_above(self._counts[1])
        chosen = last_reaching(above, np.geomspace(above[0], 1, n - n // 2))
        if hits[0]:
            chosen = np.union1d(chosen, last_reaching(hits, np.linspace(hits[0], 1, n // 2)))
        return self._lower_edges(self._keys[np.unique(chosen)])

    def _has_anomalous(self) -> bool:
        self._count_buffer()
        return self.num_regions > 0

    def _has_both(self) -> bool:
        return self._has_anomalous() and bool(self._counts[0].any())

    def _lower_edges(self, keys: Keys) -> NDArray[np.float32]:
        return scores_of_keys(keys << np.uint32(self._shift))

    def _count_buffer(self) -> None:
        if not self._buffer:
            return
        shift = np.uint32(self._shift)
        parts = zip(*self._buffer, strict=True)
        normal_keys, anomalous_keys, weight = (np.concatenate(part) for part in parts)
        self._buffer, self._num_buffered = [], 0
        normal_keys, num_normal = np.unique(normal_keys >> shift, return_counts=True)
        anomalous_keys, position = np.unique(anomalous_keys >> shift, return_inverse=True)
        num_anomalous = np.bincount(position, minlength=len(anomalous_keys))
        weight = np.bincount(position, weights=weight, minlength=len(anomalous_keys))
        old_keys, old_counts = self._keys, self._counts
        all_keys = np.concatenate([old_keys, normal_keys, anomalous_keys])
        # Asked for counts, numpy sorts; otherwise it hashes (since 2.3), 50 times slower here.
        self._keys, _ = np.unique(all_keys, return_counts=True)
        self._counts = np.zeros((3, len(self._keys)))
        self._counts[:, np.searchsorted(self._keys, old_keys)] = old_counts
        self._counts[0, np.searchsorted(self._keys, normal_keys)] += num_normal
        self._counts[1:, np.searchsorted(self._keys, anomalous_keys)] += np.stack([num_anomalous, weight])
        while len(self._keys) > self._max_keys and self._shift < MAX_SHIFT:
            self._shift += 1
            self._keys, starts = np.unique(self._keys >> np.uint32(1), return_index=True)
            self._counts = np.add.reduceat(self._counts, starts, axis=1)


class PerImageCounts:
    """For every image, how many normal and anomalous pixels lie at or above each edge (ascending)."""

    def __init__(self, edges: NDArray[np.float32]) -> None:
        self.edges = edges
        self._counts: list[NDArray[np.int64]] = []  # each (2, edges + 1): normal, anomalous by bin

    def update(self, anomaly_map: AnomalyMap, mask: Mask) -> None:
        """Count one image."""
        _check_map(anomaly_map, mask, index=len(self._counts))
        bins = np.searchsorted(self.edges, anomaly_map, side="right")  # edges at or below each pixel
        num_bins = len(self.edges) + 1
        parts = [np.bincount(bins[chosen], minlength=num_bins) for chosen in (~mask, mask)]
        self._counts.append(np.stack(parts))

    def num_at_or_above(self) -> NDArray[np.int64]:
        """Pixel counts, images x edges x 2 (normal, anomalous)."""
        by_bin = self.by_bin()
        above = np.cumsum(by_bin[:, :, ::-1], axis=2)[:, :, ::-1][:, :, 1:]  # bin 0 is below every edge
        return above.transpose(0, 2, 1)

    def oracle_iou(self) -> tuple[float, float] | None:
        """Best mean IoU over anomalous images at one edge for all, and the edge; None without such images."""
        num_anomalous = self.by_bin()[:, 1].sum(axis=1)  # (images,)
        chosen = num_anomalous > 0
        if not chosen.any() or not len(self.edges):
            return None
        above = self.num_at_or_above()[chosen]
        ious = above[:, :, 1] / (num_anomalous[chosen, None] + above[:, :, 0])
        mean = ious.mean(axis=0)
        best = int(mean.argmax())
        return float(mean[best]), float(self.edges[best])

    def auroc_interval(self, *, seed: int = 0, num_resamples: int = 1000) -> list[float] | None:
        """95 % percentile bootstrap [low, high] of the pooled pixel AUROC, whole images drawn.

        Pixels of one image are not independent, so drawing pixels would promise too much. Resamples
        without both classes are left out; None below two images or without both classes.
        """
        by_bin = self.by_bin().astype(np.float64)  # exact below 2^53, and matrix products are fast
        num_images = len(by_bin)
        if num_images < 2 or not by_bin.sum(axis=(0, 2)).all():
            return None
        rng = np.random.default_rng(seed)
        areas = []
        for size in chunk_sizes(num_resamples, max(num_images, by_bin.shape[2])):
            times_drawn = rng.multinomial(num_images, np.full(num_images, 1 / num_images), size=size)
            normal, anomalous = (times_drawn.astype(np.float64) @ by_bin[:, k] for k in (0, 1))
            usable = normal.any(axis=1) & anomalous.any(axis=1)
            areas.append(auroc_of_counts(normal[usable], anomalous[usable]))
        samples = np.concatenate(areas)
        return percentile_interval(samples) if samples.size else None

    def by_bin(self) -> NDArray[np.int64]:
        """Pixel counts, images x 2 (normal, anomalous) x edges + 1: below the first edge, from each edge on."""
        return np.stack(self._counts) if self._counts else np.zeros((0, 2, len(self.edges) + 1), np.int64)


def _check_map(anomaly_map: AnomalyMap, mask: Mask, *, index: int) -> None:
    if anomaly_map.ndim != 2 or anomaly_map.shape != mask.shape:
        shapes = f"{anomaly_map.shape} and {mask.shape}"
        raise ValueError(f"image {index}: expected a map and a mask of one size H x W, got {shapes}")
    if anomaly_map.dtype != np.float32 or mask.dtype != np.bool_:
        got = f"{anomaly_map.dtype} and {mask.dtype}"
        raise ValueError(f"image {index}: expected a float32 map and a bool mask, got {got}")
    if not np.isfinite(anomaly_map).all():
        row, column = np.argwhere(~np.isfinite(anomaly_map))[0]
        value = anomaly_map[row, column]
        raise ValueError(f"image {index}: expected finite scores, got {value} at row {row}, column {column}")


def _first(pair: tuple[float, float] | None) -> float | None:
    return None if pair is None else pair[0]
