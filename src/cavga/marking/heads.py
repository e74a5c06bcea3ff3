"""New heads from cached z: prior, what marks add, thresholds; encoder and latent stay as they are.

Good marks are normal images from then on: the prior is fitted to them too, and their scores set thresholds, each by
heads of the other folds. Bad marks add what `cavga.training.fit_marks` finds worth adding.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.calibration.thresholds import Calibration, calibrate
from cavga.config.schema import CalibrationConfig
from cavga.data.copies import units_of_copies
from cavga.images.decode import BATCH_SIZE
from cavga.images.tiling import Tiling, stitch_results
from cavga.inference.graph import InferenceGraph
from cavga.marking.latents import MarkedLatents
from cavga.model.cavga import Latent
from cavga.model.prior import Energies
from cavga.progress import SILENT, Progress
from cavga.shapes import LatentMap
from cavga.training.features import Features
from cavga.training.fit_marks import MarksFit, Normals, fit_marks, read_images
from cavga.training.fit_prior import Latents, cross_fitted_prior, energies_by


@dataclass(frozen=True)
class NewHeads:
    """A graph with new heads, its thresholds, and how normal images and marks score by heads that lack them."""

    graph: InferenceGraph
    calibration: Calibration
    fit: MarksFit
    normal_scores: NDArray[np.float32]
    """Of the training images, then of the good marks."""


def with_good_marks(features: Features, good: MarkedLatents) -> Features:
    """The normal images and good marks as one; near-copies share unit and fold, others join the smallest fold."""
    thumbnails = torch.cat([features.thumbnails, good.thumbnails])
    numbers = units_of_copies([str(i) for i in range(len(thumbnails))], list(thumbnails.numpy().astype(np.uint16)))
    folds, units = features.folds.tolist(), features.units.tolist()
    place_of = {number: i for i, number in reversed(list(enumerate(numbers[: len(features)])))}
    counts = np.bincount(folds)
    for i in range(len(features), len(numbers)):
        twin = place_of.setdefault(numbers[i], i)
        is_new = twin == i
        units.append(max(units) + 1 if is_new else units[twin])
        folds.append(int(counts.argmin()) if is_new else folds[twin])
        counts[folds[-1]] += 1
    return Features(
        torch.cat([features.z, good.z]), torch.cat([features.sizes, good.sizes]), thumbnails, torch.tensor(folds),
        torch.tensor(units), torch.cat([features.sets_mask, torch.ones(len(good.z), dtype=torch.bool)]), features.made,
        *vars(features.energies).values(),
    )  # fmt: skip


@torch.no_grad()
def fit_heads(
    old: InferenceGraph,
    normal: Features,
    bad: LatentMap,
    settings: CalibrationConfig,
    tiling: Tiling,
    *,
    known: Energies | None,
    seed: int,
    progress: Progress = SILENT,
) -> NewHeads:
    """New heads for a graph, which is left as it is, on the processor.

    Where the energies of the normal images are `known`, by folds of the graph's own prior, that prior stays.
    """
    folds, units = normal.folds.numpy(), normal.units.numpy().astype(np.intp)
    everything, parts = np.arange(len(normal)), [np.flatnonzero(folds == fold).tolist() for fold in np.unique(folds)]
    graph = copy.deepcopy(old).cpu()
    prior, energies = graph.model.prior, known
    if prior is None or energies is None:
        progress.begin("prior", len(parts) + 1, "fits")
        prior, energies = cross_fitted_prior(
            Latents(normal.z, everything), everything, lambda positions: normal.z[torch.from_numpy(positions)], parts,
            units, seed=seed, progress=progress,
        )  # fmt: skip
    graph.model.prior, graph.model.marks = prior, None
    normals = Normals(read_images(prior, normal.z, energies), folds, units)
    nothing = read_images(prior, normal.z[:0], energies.of(slice(0)))
    marks = read_images(prior, bad, energies_by(prior, bad)) if len(bad) else nothing
    made = read_images(prior, normal.made, energies_by(prior, normal.made)) if len(normal.made) else nothing
    fit = fit_marks(normals, marks, made, settings.false_alarm_rate)
    peaks = list(_maps(graph, normal, energies))
    graph.model.marks = fit.head
    tiles = zip(fit.normal_scores.tolist(), peaks, strict=True)
    whole = stitch_results(tiling, [tuple(size) for size in normal.sizes.tolist()], tiles)
    results = [(score, None if found is None else found.max(keepdims=True)) for score, found in whole]
    calibration = calibrate(
        results, settings, image_score=graph.image_score, num_folds=len(parts), units=units.tolist()
    )
    graph.image_threshold.fill_(calibration.image_threshold)
    graph.pixel_threshold.fill_(calibration.pixel_threshold)
    return NewHeads(graph, calibration, fit, fit.normal_scores.numpy())


def _maps(graph: InferenceGraph, normal: Features, energies: Energies) -> Iterator[NDArray[np.float32] | None]:
    """The map of every normal image by heads that lack it; None where the classifier has seen it."""
    for i in range(len(normal)):
        if not bool(normal.sets_mask[i]):
            yield None
            continue
        mu = normal.z[i : i + 1].float()
        output = graph.score_latent(latent_of(mu), graph.model.energy_of(energies.of(slice(i, i + 1)), mu))
        yield output.anomaly_map[0].numpy()


def latent_of(mu: LatentMap) -> Latent:
    """A latent whose noise nobody looks at."""
    return Latent(mu, torch.zeros_like(mu), None)


@torch.no_grad()
def scores_by(graph: InferenceGraph, z: LatentMap) -> NDArray[np.float32]:
    """What a graph scores images whose z is known, in half precision."""
    batches = z.split(BATCH_SIZE) if len(z) else ()  # type: ignore[no-untyped-call]  # torch's own
    found = [graph.score_latent(latent_of(some.float())).score for some in batches]
    return torch.cat(found).numpy() if found else np.zeros(0, dtype=np.float32)
