"""Another lamp: what good marks of it do to false alarms, beside new thresholds from the same photographs.

Brightness, hue and focus of all test photographs are changed alike. Some good ones of them are marked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cavga.calibration.rules import conformal_threshold
from cavga.config.schema import CalibrationConfig
from cavga.images.tiling import Tiling
from cavga.inference.graph import InferenceGraph, graph_of
from cavga.marking.heads import fit_heads, scores_by, with_good_marks
from cavga.marking.latents import MarkedLatents
from cavga.training.factor_model import factors
from cavga.training.features import Features, thumbnails_of
from cavga.training.fit_prior import all_flattened, fitted_prior
from studies.fitted import fitted_model
from studies.marks.latents import SEED, MarkedSet, encoded, load_pixels, load_set
from studies.rows import rounded

GAIN, TINT, BLUR = 1.1, (1.04, 1.0, 0.95), 0.7  # of grey levels; of red, green and blue; px
GOOD_COUNTS, NUM_LAMP_DRAWS, RATE = (3, 10), 3, 0.05
Row = dict[str, Any]


@dataclass(frozen=True)
class Lamps:
    """z of the test photographs under the lamp of the training and under another, and which are bad."""

    old: Tensor
    new: Tensor
    thumbnails: Tensor
    is_bad: NDArray[np.bool_]


def under_another_lamp(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photograph as another lamp would show it: brighter, warmer, less sharp."""
    blurred = ndimage.gaussian_filter(image.astype(np.float64), (BLUR, BLUR, 0), mode="nearest")
    return np.clip(np.rint(GAIN * blurred * np.array(TINT)), 0, 255).astype(np.uint8)


def lamp_rows(root: Path, name: str, weights: str, cache: Path, *, size: int) -> list[Row]:
    """False alarms and recall under both lamps: as trained, by new thresholds, and by refits with good marks."""
    data, pixels = load_set(root, name, weights, cache, size=size), load_pixels(root, name, weights, cache, size)
    model = fitted_model(pixels.config, pixels.train)
    changed = np.stack([under_another_lamp(image) for image in pixels.test])
    lamps = Lamps(data.test.z, encoded(model, changed)[0], thumbnails_of(changed), data.is_bad.numpy())
    graph = graph_of(model, pixels.config)
    model.prior = fitted_prior(data.train.z, factors(all_flattened(data.train.z)), SEED)
    model.prior.set_scales(data.train.energies)
    normal = _features(data, pixels.train)
    before = normal_threshold(model.prior.joined(data.train.energies)[1].numpy(), normal.units.numpy())
    nothing = np.zeros(0, dtype=np.intp)
    rows = [{"data": name, "good marks": 0, "way": "as trained", **_figures(lamps, graph, before, nothing)}]
    for count in GOOD_COUNTS:
        drawn = list(_drawn(lamps, graph, normal, count, size))
        for way in ("calibrate", "refit"):
            rows.append({"data": name, "good marks": count, "way": way, **_averaged([one[way] for one in drawn])})
    return rows


def normal_threshold(scores: NDArray[np.float32], units: NDArray[np.intp]) -> float:
    """The threshold that scores of normal images set at RATE."""
    return float(conformal_threshold(scores, RATE, units)[0])


def _drawn(
    lamps: Lamps, graph: InferenceGraph, normal: Features, count: int, size: int
) -> Iterator[dict[str, dict[str, float]]]:
    """Of every draw of good photographs under the new lamp, the figures of both ways to use them."""
    good = np.flatnonzero(~lamps.is_bad)
    settings, tiling = CalibrationConfig(false_alarm_rate=RATE), Tiling((size, size))
    for seed in range(NUM_LAMP_DRAWS):
        marked = np.random.default_rng([seed, count]).choice(good, count, replace=False)
        sizes = torch.full((count, 2), size)
        marks = MarkedLatents(lamps.new[marked], sizes, lamps.thumbnails[marked])
        threshold = normal_threshold(scores_by(graph, lamps.new[marked]), np.arange(count))
        heads = fit_heads(graph, with_good_marks(normal, marks), lamps.new[:0], settings, tiling, known=None, seed=SEED)
        yield {
            "calibrate": _figures(lamps, graph, threshold, marked),
            "refit": _figures(lamps, heads.graph, heads.calibration.image_threshold, marked),
        }


def _features(data: MarkedSet, images: NDArray[np.uint8]) -> Features:
    """What a run would keep of the training images."""
    energies, number, size = data.train.energies, len(data.train.z), images.shape[1:3]
    return Features(
        data.train.z, torch.tensor(size).repeat(number, 1), thumbnails_of(images), data.fold, data.unit,
        torch.ones(number, dtype=torch.bool), data.made.z[:0], energies.local, energies.flat, energies.flat_score,
    )  # fmt: skip


def _figures(lamps: Lamps, graph: InferenceGraph, threshold: float, marked: NDArray[np.intp]) -> dict[str, float]:
    """False alarms and recall at a threshold, of photographs that are not marked, under both lamps."""
    figures = {}
    for lamp, z in (("new", lamps.new), ("old", lamps.old)):
        reaches, rest = scores_by(graph, z) >= threshold, np.ones(len(z), dtype=np.bool_)
        rest[marked] = False
        figures[f"{lamp}_false_alarms"] = float(reaches[rest & ~lamps.is_bad].mean())
        figures[f"{lamp}_recall"] = float(reaches[lamps.is_bad].mean())
    return figures


def _averaged(figures: Sequence[dict[str, float]]) -> Row:
    means = {name: rounded(float(np.mean([one[name] for one in figures]))) for name in figures[0]}
    return means | {f"{name}_std": rounded(float(np.std([one[name] for one in figures]))) for name in figures[0]}
