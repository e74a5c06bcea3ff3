"""How large the input should be, and how an image's two scores are joined.

python -m studies.carry_over ROOT RESNET18_WEIGHTS CACHE [--datasets A;B]

r-u, frozen encoder, ImageNet weights, seed 0. Photographs are stored at 512 x 512 px, stretched, and seen at each of
SIDES; where a photograph has fewer pixels it is enlarged, which the row says. In rows of part `made` are anomalies of
the self-test's kinds, made at 512 px on normal images that the prior had not seen: settings are chosen on those. Rows
of part `test` are real photographs (of the textures: synthetic anomalies) and decide nothing. Writes
benchmarks/results/carry_over.jsonl; what it holds is not computed again.
"""

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.result_files import FOLDER, read_result, write_result
from cavga.benchmark.textures import TEXTURES
from cavga.config.presets import make_config
from cavga.images.resize import resized
from cavga.metrics.image import auroc
from cavga.model.prior import AggregatedPrior, Energies, largest_mean
from cavga.training.factor_model import factors
from cavga.training.fit_guided_head import choose_left_out
from cavga.training.fit_prior import all_flattened, energies_by, fitted_prior
from studies.complement.figures import of_maps
from studies.complement.latents import encoded, made_on
from studies.complement.pixels import Pixels, load_pixels, papers
from studies.fitted import fitted_model
from studies.rows import rounded

RESULT = "carry_over"
STORED, SIDES = 512, (256, 384)
RATE = 0.05  # of false alarms, at which recall is shown
REAL = ("magnetic_tile", "mvtec_ad/screw", "mvtec_loco/juice_bottle", "elpv_mono")


def soft_maximum(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """The larger where they are far apart, up to `temperature` log 2 more where they are equal."""
    return temperature * (torch.stack([one, other]) / temperature).logsumexp(dim=0)


RULES = {
    "larger": torch.maximum,
    "soft maximum, temperature 0.5": lambda one, other: soft_maximum(one, other, 0.5),
    "soft maximum": lambda one, other: soft_maximum(one, other, 1.0),
    "soft maximum, temperature 2": lambda one, other: soft_maximum(one, other, 2.0),
    "sum": torch.add,
    "mixture alone": lambda one, _other: one,
    "factor model alone": lambda _one, other: other,
}


def main() -> None:
    """Every set at every size; the file is written after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--datasets", help="default: all")
    args = parser.parse_args()
    names = args.datasets.split(";") if args.datasets else [*REAL, *TEXTURES, *papers(args.root)]
    rows: list[dict[str, Any]] = read_result(RESULT)["rows"] if (FOLDER / f"{RESULT}.jsonl").is_file() else []
    for name in names:
        if any(row["data"] == name for row in rows):
            continue
        pixels = load_pixels(args.root, name, args.weights, args.cache, size=STORED)
        is_held = choose_left_out(len(pixels.train), 0)
        made, masks = zip(*made_on(pixels.train[is_held], 0), strict=True)
        for side in SIDES:
            found = rows_of(pixels, is_held, (np.stack(made), np.stack(masks)), side, args.weights)
            rows += [{"data": name, "side": side, "seed": 0, "pixels": round(pixels.side), **row} for row in found]
        write_result(RESULT, {"table": RESULT, "machine": platform.machine(), "rate": RATE, "rows": rows})
        print(name, flush=True)


@torch.no_grad()
def rows_of(
    pixels: Pixels,
    is_held: NDArray[np.bool_],
    made: tuple[NDArray[np.uint8], NDArray[np.bool_]],
    side: int,
    weights: str,
) -> Iterator[dict[str, Any]]:
    """A row for each part and rule; maps are the same by every rule and stand in its first one."""
    settings = {"variant": "r-u", "encoder": "resnet18", "weights": weights}
    config = make_config("recommended", {"model": settings, "data": {"image_size": (side, side)}})
    seen = at_side(pixels.train[~is_held], side)
    model = fitted_model(config, seen)
    z = encoded(model, seen)
    prior = fitted_prior(z, factors(all_flattened(z)), 0)
    held = energies_by(prior, encoded(model, at_side(pixels.train[is_held], side)))
    prior.set_scales(held)
    of_made = Energies.joined([held, energies_by(prior, encoded(model, at_side(made[0], side)))])
    nothing = np.zeros((is_held.sum(), STORED, STORED), dtype=np.bool_)
    masks = np.concatenate([nothing, made[1]])
    yield from _figures("made", prior, of_made, masks.any(axis=(1, 2)), masks)
    test = energies_by(prior, encoded(model, at_side(pixels.test, side)))
    yield from _figures("test", prior, test, pixels.is_bad, pixels.masks)


def _figures(
    part: str, prior: AggregatedPrior, energies: Energies, is_bad: NDArray[np.bool_], masks: NDArray[np.bool_] | None
) -> Iterator[dict[str, Any]]:
    both = scores_of(prior, energies)
    maps = prior.joined(energies)[0]
    pixel = {} if masks is None else of_maps(maps, masks[:, ::2, ::2])
    for rule, join in RULES.items():
        scores = join(*both).numpy()
        figures = {"image_auroc": rounded(auroc(scores, is_bad.astype(int))), "recall": recall_at(scores, is_bad)}
        yield {"part": part, "rule": rule, **figures, **pixel}
        pixel = {}


def scores_of(prior: AggregatedPrior, energies: Energies) -> tuple[Tensor, Tensor]:
    """The mixture's and the factor model's score of every image, in standard deviations of normal images."""
    local = largest_mean(prior.local_deviations(energies))
    (mean, std), (flat_mean, flat_std) = prior.scales[0], prior.scales[1]
    return (local - mean) / std, (energies.flat_score - flat_mean) / flat_std


def recall_at(scores: NDArray[np.float32], is_bad: NDArray[np.bool_]) -> float | None:
    """Recall where RATE of the good images of the same part are false alarms: what the ranking allows."""
    return rounded((scores[is_bad] > np.quantile(scores[~is_bad], 1 - RATE, method="higher")).mean())


def at_side(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Square images at another size."""
    return np.stack([resized(image, (side, side)) for image in images])


if __name__ == "__main__":
    main()
