"""A test image with its score, maps and true mask, from a detector or from elsewhere; what metrics are taken of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cavga.arrays import AnomalyMap, Mask
from cavga.data.records import ANOMALOUS, NORMAL, ImageRecord
from cavga.evaluation.verdicts import verdict_of
from cavga.images.decode import read_image_size
from cavga.images.masks import read_mask
from cavga.images.resize import resize_map, true_mask_at
from cavga.metrics.pixel import PerImageCounts


@runtime_checkable
class Result(Protocol):
    """What is known of one image: a Prediction, or a score and a map that were made elsewhere."""

    @property
    def score(self) -> float: ...
    @property
    def is_anomalous(self) -> bool | None: ...
    @property
    def anomaly_map(self) -> AnomalyMap: ...
    @property
    def image_size(self) -> tuple[int, int]: ...
    @property
    def milliseconds(self) -> float | None: ...


@dataclass(frozen=True)
class Thresholds:
    """From which score on an image, from which value on a pixel is predicted anomalous; None: not known."""

    image: float | None
    pixel: float | None


@dataclass(frozen=True)
class ScoredImage:
    """One test image with its result; `error` says why there is none."""

    record: ImageRecord
    score: float | None
    is_anomalous: bool | None
    milliseconds: float | None
    error: str | None = None
    mask_error: str | None = None
    remarks: tuple[str, ...] = ()
    """What is to be said of how the photograph or its mask was read."""
    touches: bool | None = None
    """Of a defective image whether what the model marks touches the true mask; None where either is not known."""
    p_value: float | None = None
    """How rare such a score is among the good photographs that set the threshold."""
    p_value_in_words: str | None = None

    @property
    def verdict(self) -> str | None:
        """What became of it (cavga.evaluation.verdicts); None without a label, or where nobody decided."""
        if self.is_anomalous is None or self.record.label is None:
            return None
        return verdict_of(self.record.label, is_anomalous=self.is_anomalous, touches=self.touches)


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found; `maps` lie on disk and are gone with their folder.

    `pixel_counts` has the images with a known mask, in order.
    """

    metrics: dict[str, Any]
    images: tuple[ScoredImage, ...]
    maps: "StoredMaps"
    pixel_counts: PerImageCounts

    @property
    def problems(self) -> list[str]:
        """Files that were left out, one line each."""
        return [text for image in self.images for text in (image.error, image.mask_error) if text]

    @property
    def remarks(self) -> list[str]:
        """What is to be said of files that were used all the same, one line each."""
        return [f"{image.record.relative_path}: {text}" for image in self.images for text in image.remarks]


class StoredMaps:
    """Anomaly maps on disk, by the position of their image; of large photographs they are of several sizes."""

    def __init__(self, folder: Path, *, default_shape: tuple[int, int]) -> None:
        self._folder, self._default_shape = folder, default_shape
        self._shapes: set[tuple[int, ...]] = set()

    def store(self, position: int, anomaly_map: AnomalyMap) -> None:
        np.save(self._folder / f"{position}.npy", anomaly_map)
        self._shapes.add(anomaly_map.shape)

    def __getitem__(self, position: int) -> AnomalyMap:
        return np.load(self._folder / f"{position}.npy")

    def resolution(self) -> list[int] | str:
        """Height and width of all maps, or "map" if they differ."""
        shapes = self._shapes or {self._default_shape}
        return list(next(iter(shapes))) if len(shapes) == 1 else "map"


@dataclass(frozen=True)
class PixelSource:
    """The (anomaly map, mask) pairs of a test set, again and again, without holding them."""

    images: Sequence[ScoredImage]
    maps: StoredMaps
    at_original_size: bool

    def pairs(self, defect_type: str | None = None) -> Iterator[tuple[AnomalyMap, Mask]]:
        """Those of all images with a known mask, or of the normal ones and one defect type."""
        for i, image in enumerate(self.images):
            if not has_known_mask(image):
                continue
            if defect_type not in (None, image.record.defect_type) and image.record.label == ANOMALOUS:
                continue
            anomaly_map = self.maps[i]
            mask = true_mask(image, None if self.at_original_size else anomaly_map.shape)
            yield resize_map(anomaly_map, mask.shape), mask

    def resolution(self) -> list[int] | str:
        return "original" if self.at_original_size else self.maps.resolution()


def median_image(images: Sequence[ScoredImage]) -> ScoredImage:
    """The image with the median score, of an even number the upper one; of equal scores in the order of paths."""
    return sorted(images, key=lambda image: (image.score or 0.0, image.record.relative_path))[len(images) // 2]


def has_known_mask(image: ScoredImage) -> bool:
    """Whether every pixel's label is known: a normal image, or an anomalous one with a usable mask."""
    if image.error or image.mask_error:
        return False
    return image.record.label == NORMAL or bool(image.record.mask_paths)


def true_mask(image: ScoredImage, size: tuple[int, ...] | None) -> Mask:
    """The mask at `size` (nearest), or at its own size; all False for a normal image."""
    if image.record.label == NORMAL or not image.record.mask_paths:
        return np.zeros(size or read_image_size(image.record.path), dtype=np.bool_)
    mask = read_mask(image.record.mask_paths)
    return mask if size is None else true_mask_at(mask, size)
