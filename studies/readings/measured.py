"""The figures of a trained reading: held-out L_R, saturation, and what its maps find of made and of real anomalies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.data.dataset import image_batches
from cavga.inference.graph import enlarged
from cavga.losses import reconstruction_loss
from cavga.metrics.image import auroc
from cavga.metrics.pixel import PixelHistogram
from cavga.shapes import Images
from studies.grey_level import entropy
from studies.readings.attention import forward
from studies.readings.sets import ImageSet, Masks, Pixels
from studies.readings.training import CPU, Trained
from studies.rows import rounded

EXTREME = 0.01  # of A: so near to 0 or 1 it is saturated
MOST_SATURATED = 0.25  # share of the patches of held-out normal images
ANOMALOUS_SHARE = 0.1  # of a patch's pixels, from which on it counts as anomalous
NUM_WATCHED = 24  # images of each kind that are looked at on the way

Floats = NDArray[np.float32]


@dataclass
class Scored:
    """What a model says of some images, in eval mode with z = mu."""

    attention: Floats
    """Patches (number, rows, columns)."""
    absolute: Floats
    """|x - x_hat|, mean over the channels, of every pixel."""
    squared: Floats
    reconstruction: float


class Watch:
    """A on normal and on anomalous patches along training; `points` of each reading grow by one a look."""

    def __init__(self, views: Sequence[Trained], data: ImageSet) -> None:
        self.views, self.data = views, data
        self.points: list[list[dict[str, Any]]] = [[] for _ in views]

    def __call__(self, step: int) -> None:
        """Look once."""
        data, bad = self.data, np.flatnonzero(self.data.labels == 1)
        chosen = bad[:: max(1, len(bad) // NUM_WATCHED)][:NUM_WATCHED]
        parts: dict[str, tuple[Pixels, Masks | None]] = {
            "normal": (data.held[:NUM_WATCHED], None),
            "made": (data.made[:NUM_WATCHED], data.made_masks[:NUM_WATCHED]),
        }
        if data.test_masks is not None:
            parts["real"] = (data.test[chosen], data.test_masks[chosen])
        found = {name: (scored(self.views, images), masks) for name, (images, masks) in parts.items()}
        for i, points in enumerate(self.points):
            level = found["normal"][0][i].reconstruction
            point = {"step": step, "L_R": rounded(level) if np.isfinite(level) else None}
            spreads = {name: spread(each[i].attention, masks) for name, (each, masks) in found.items()}
            points.append({**point, **spreads})


def figures(views: Sequence[Trained], data: ImageSet) -> list[dict[str, Any]]:
    """Every figure of rows at their end; `made` chooses, `test` is reported."""
    parts = [scored(views, images) for images in (data.held, data.made, data.test)]
    return [_figures(data, *found) for found in zip(*parts, strict=True)]


def _figures(data: ImageSet, held: Scored, made: Scored, test: Scored) -> dict[str, Any]:
    """Of one reading. A training that diverged has none."""
    if not all(np.isfinite(part.reconstruction) for part in (held, made, test)):
        return {"L_R": None, "saturated": None, "is_trained": False, "made": {}, "test": {}}
    grey = float(entropy(data.held.mean(axis=(1, 2, 3)) / 255).mean())
    exact = float(entropy(data.held / 255).mean())
    saturated = float(((held.attention < EXTREME) | (held.attention > 1 - EXTREME)).mean())
    labels = np.repeat([0, 1], [len(data.held), len(data.made)])
    masks = np.concatenate([np.zeros(data.held.shape[:3], dtype=np.bool_), data.made_masks])
    return {
        "L_R": rounded(held.reconstruction),
        "L_R_grey": rounded(grey),
        "L_R_exact": rounded(exact),
        "saturated": rounded(saturated),
        "is_trained": held.reconstruction < grey and saturated <= MOST_SATURATED,
        "mean_A": rounded(float(held.attention.mean())),
        "made": aurocs(joined(held, made), labels, masks),
        "test": aurocs(test, data.labels, data.test_masks),
    }


def scored(views: Sequence[Trained], images: Pixels) -> list[Scored]:
    """A of every reading of one network, and both residuals, of every image."""
    views[0].model.eval()
    batches = [_of_batch(views, batch) for batch in image_batches(images, CPU)]
    weights = [len(parts[0].attention) for parts in batches]
    found = []
    for parts in zip(*batches, strict=True):
        maps = [np.concatenate(each) for each in zip(*(_maps(part) for part in parts), strict=True)]
        found.append(Scored(*maps, float(np.average([part.reconstruction for part in parts], weights=weights))))
    return found


def joined(first: Scored, second: Scored) -> Scored:
    """Two sets of images as one; L_R is not kept."""
    maps = [np.concatenate(pair) for pair in zip(_maps(first), _maps(second), strict=True)]
    return Scored(*maps, float("nan"))


def aurocs(found: Scored, labels: NDArray[np.int64], masks: Masks | None) -> dict[str, float | None]:
    """Image and pixel AUROC of 1 - A, of A and of both residuals; without masks those of images alone."""
    low = {"1 - A": (1 - found.attention).mean(axis=(1, 2))}
    residuals = {"L1": found.absolute.mean(axis=(1, 2)), "L2": found.squared.mean(axis=(1, 2))}
    result = {f"image {name}": auroc(values, labels) for name, values in (low | residuals).items()}
    if masks is not None:
        side = masks.shape[1:]
        maps = {"1 - A": _at_size(1 - found.attention, side), "L1": found.absolute, "L2": found.squared}
        result |= {f"pixel {name}": pixel_auroc(values, masks) for name, values in maps.items()}
    result |= {name.replace("1 - A", "A"): 1 - value for name, value in result.items() if "A" in name and value}
    return {name: rounded(value) for name, value in result.items()}


def pixel_auroc(maps: Floats, masks: Masks) -> float | None:
    """Of all pixels at once."""
    histogram = PixelHistogram()
    for one, mask in zip(maps, masks, strict=True):
        histogram.update(one, mask)
    return histogram.auroc()


def spread(attention: Floats, masks: Masks | None = None) -> dict[str, Any]:
    """Mean and standard deviation of A over the patches: all, or those that a mask touches."""
    chosen = attention.ravel() if masks is None else attention[anomalous_patches(masks, attention.shape[1:])]
    if not chosen.size or not np.isfinite(chosen).all():
        return {"mean": None, "std": None, "patches": 0}
    return {"mean": rounded(float(chosen.mean())), "std": rounded(float(chosen.std())), "patches": int(chosen.size)}


def anomalous_patches(masks: Masks, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which patches of a map of `size` are anomalous in at least ANOMALOUS_SHARE of their pixels."""
    number, rows, columns = len(masks), *size
    cells = masks.reshape(number, rows, masks.shape[1] // rows, columns, masks.shape[2] // columns)
    return cells.mean(axis=(2, 4)) >= ANOMALOUS_SHARE


def _of_batch(views: Sequence[Trained], images: Images) -> list[Scored]:
    """One forward pass, and A of every reading."""
    found = forward(views[0].model, images, None)
    difference = images - found.logits.detach().sigmoid()
    residuals = difference.abs().mean(dim=1).numpy(), difference.square().mean(dim=1).numpy()
    level = float(reconstruction_loss(found.logits.detach(), images))
    return [Scored(view.attention(found, images).detach().numpy(), *residuals, level) for view in views]


def _maps(found: Scored) -> Iterator[Floats]:
    yield from (found.attention, found.absolute, found.squared)


def _at_size(maps: Floats, size: tuple[int, ...]) -> Floats:
    return enlarged(torch.from_numpy(maps), (size[0], size[1])).numpy()
