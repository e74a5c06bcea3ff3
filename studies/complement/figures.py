"""Figures of a map and of image scores that an energy and a head make together."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.inference.graph import enlarged
from cavga.metrics.image import auroc
from cavga.metrics.pixel import PixelHistogram
from cavga.model.prior import AggregatedPrior, Energies, largest_mean
from cavga.shapes import ScoreMap, Scores
from cavga.training.fit_guided_head import choose_left_out
from studies.complement.heads import Said
from studies.complement.latents import Latents
from studies.fold_thresholds import scaled
from studies.rows import rounded

WEIGHTS = (0.25, 0.5, 1.0)  # of what a head says, beside the energy
Row = dict[str, Any]


def figures(
    latents: Latents, seed: int, *, said: Said | None = None, moved: dict[str, Energies] | None = None
) -> list[Row]:
    """Rows of both parts: of a head at every weight and alone, of energies once."""
    rows: list[Row] = []
    for part in ("made", "test"):
        is_bad, masks = truth(latents, part)
        normal, held, energies = energies_of(latents, part, seed, moved)
        prior = scaled(normal)
        maps, score = prior.joined(energies)
        if said is None:
            rows.append({"part": part, "weight": 0.0, "image_auroc": _auroc(score, is_bad), **of_maps(maps, masks)})
            continue
        y = torch.cat([said.held, said.made]) if part == "made" else said.test
        y, y_held = ((some - said.held.mean()) / said.held.std() for some in (y, said.held))
        for weight in WEIGHTS:
            scores = with_head(prior, energies, held, y, y_held, weight)
            row = {f"image_auroc_{name}": _auroc(values, is_bad) for name, values in scores.items()}
            rows.append({"part": part, "weight": weight, **row, **of_maps(maps + weight * y, masks)})
        alone = {"image_auroc": _auroc(largest_mean(y), is_bad), **of_maps(y, masks)}
        rows.append({"part": part, "weight": "alone", **alone})
    return rows


def truth(latents: Latents, part: str) -> tuple[NDArray[np.int_], NDArray[np.bool_]]:
    """Which images are bad, and their masks, none where the set has none."""
    if part == "test":
        return latents.is_bad.numpy().astype(int), latents.masks.numpy()
    nothing = torch.zeros(len(latents.held), *latents.made_masks.shape[1:], dtype=torch.bool)
    is_bad = np.repeat([0, 1], [len(latents.held), len(latents.made)])
    return is_bad, torch.cat([nothing, latents.made_masks]).numpy()


def energies_of(
    latents: Latents, part: str, seed: int, moved: dict[str, Energies] | None
) -> tuple[Energies, Energies, Energies]:
    """What scales come from, energies of the held images by the same priors, and those of the images of the part."""
    if moved is not None:
        tested = moved["test"] if part == "test" else Energies.joined([moved["held"], moved["made"]])
        return moved["held"], moved["held"], tested
    if part == "made":
        made = Energies.joined([latents.held_energies, latents.made_energies])
        return latents.held_energies, latents.held_energies, made
    is_held = choose_left_out(len(latents.seen) + len(latents.held), seed)
    of_held = latents.train_energies.of(torch.from_numpy(is_held.nonzero()[0]))
    return latents.train_energies, of_held, latents.test_energies


def with_head(
    prior: AggregatedPrior, energies: Energies, held: Energies, y: ScoreMap, y_held: ScoreMap, weight: float
) -> dict[str, Scores]:
    """Image scores with the head's say: added to the score, as one more maximum, added to the patches."""
    of_y, score = _in_units(largest_mean(y), largest_mean(y_held)), prior.joined(energies)[1]
    tops = [largest_mean(_local(prior, some) + weight * said) for some, said in ((energies, y), (held, y_held))]
    flat = (energies.flat_score - prior.scales[1, 0]) / prior.scales[1, 1]
    return {
        "added": score + weight * of_y,
        "largest": torch.maximum(score, weight * of_y),
        "patches": torch.maximum(_in_units(tops[0], tops[1]), flat),
    }


def of_maps(maps: ScoreMap, masks: NDArray[np.bool_]) -> Row:
    """Pixel metrics at the size of the masks; none without masks."""
    if not len(masks):
        return {}
    histogram = PixelHistogram(None)
    for some, true in zip(maps.split(32), np.array_split(masks, range(32, len(masks), 32)), strict=True):
        for one, mask in zip(enlarged(some, masks.shape[1:3]).numpy(), true, strict=True):
            histogram.update(one, mask)
    found = histogram.metrics()
    best = histogram.oracle_iou()
    assert best is not None
    return {
        "pixel_auroc": rounded(found["auroc"]), "pixel_ap": rounded(found["average_precision"]),
        "pixel_f1": rounded(2 * best[0] / (1 + best[0])), "aupro": rounded(found["aupro"]),
    }  # fmt: skip


def _local(prior: AggregatedPrior, energies: Energies) -> ScoreMap:
    return (energies.local - prior.cell_scales[0, 0]) / prior.cell_scales[0, 1]


def _in_units(values: Scores, normal: Scores) -> Scores:
    return (values - normal.mean()) / normal.std()


def _auroc(scores: Scores, is_bad: NDArray[np.int_]) -> float | None:
    return rounded(auroc(scores.numpy(), is_bad))
