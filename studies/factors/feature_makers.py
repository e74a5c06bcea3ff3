"""Anomalies made in feature space instead of on images, to train the classifier of r-s with, for `study.py`."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cavga.model.classifiers import MAP_WEIGHT, GuidedHead
from cavga.model.prior import smoothed
from cavga.synthetic.primitives import cut_to_area, perlin
from cavga.training.fit_guided_head import SYNTHETIC_PER_IMAGE, Examples, train_guided_head
from studies.factors.energies import PARTS, Maps

SIGMAS, AREAS = (0.5, 4.0), (0.005, 0.25)  # standard deviations of a channel; shares of the image

# (z of an image, standard deviations of its channels) -> a change of one of them
Synthesiser = Callable[[Tensor, Tensor], Tensor]


def noise(z: Tensor, deviations: Tensor) -> Tensor:
    """Gaussian noise in every patch."""
    return torch.randn(z.shape) * deviations[:, None, None]


def one_direction(z: Tensor, deviations: Tensor) -> Tensor:
    """The same random direction in every patch: a material, not a roughness."""
    return (torch.randn(len(z)) * deviations)[:, None, None].expand_as(z)


def away_from(centres: Tensor, variances: Tensor) -> Synthesiser:
    """Away from the nearest centre of the mixture: up its energy."""

    def change(z: Tensor, deviations: Tensor) -> Tensor:
        patches = z.flatten(1).T
        nearest = (torch.cdist(patches, centres) / variances.sqrt()).argmin(dim=1)
        offset = patches - centres[nearest]
        length = deviations.norm() / offset.norm(dim=1, keepdim=True).clamp_min(1e-6)
        return (offset * length).T.view_as(z)

    return change


def made(z: Tensor, makers: list[Synthesiser], *, seed: int) -> tuple[Tensor, Tensor]:
    """Z of normal images changed inside Perlin masks, and the masks."""
    deviations = z.float().std(dim=(0, 2, 3))
    changed, masks = [], []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number in range(SYNTHETIC_PER_IMAGE * len(z)):
            rng = np.random.default_rng([seed, number])
            image = z[number % len(z)].float()
            shape = (image.shape[1], image.shape[2])
            bumps = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
            area, sigma = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (AREAS, SIGMAS))
            mask = torch.from_numpy(cut_to_area(perlin(shape, bumps, rng), area, 1.0))
            change = makers[number % len(makers)](image, deviations)
            changed.append((image + sigma * mask * change).half())
            masks.append(mask)
    return torch.stack(changed), torch.stack(masks)


def classified(x: Maps, energy: Maps, trained: tuple[Tensor, Tensor]) -> Maps:
    """The energy plus, as in r-s, the map of a C that is trained on the made ones; held-out images give its scale."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = GuidedHead(latent_channels=x["fit"].shape[1])
        classifier.unit.copy_(x["fit"].float().std(dim=(0, 2, 3)).clamp_min(1e-6))
        train_guided_head(classifier, Examples(x["fit"], *trained, torch.zeros(0)))
    classifier.eval().requires_grad_(False)
    maps = {part: torch.cat([classifier.cam(z.float()) for z in x[part].split(16)]) for part in PARTS}
    held = smoothed(maps["held"])
    return {part: energy[part] + MAP_WEIGHT * (maps[part] - held.mean()) / held.std() for part in PARTS}


def changes_of(centres: Tensor, variances: Tensor) -> dict[str, list[Synthesiser]]:
    """What is compared."""
    away = away_from(centres, variances)
    return {
        "noise": [noise],
        "one direction": [one_direction],
        "away from the nearest centre": [away],
        "the three in turn": [noise, one_direction, away],
    }
