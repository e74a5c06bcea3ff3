"""Gaussian energies of frozen features, for `study.py`: plain, of half the spectrum, pooled, in context."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from cavga.training.fit_latent import whitening_of

PARTS = ("held", "made", "test")
Maps = dict[str, Tensor]


def projected(features: Maps, *, power: float, channels: int, lower: int = 0) -> Maps:
    """Principal directions of the features divided by their variance to the power."""
    spectrum = (lower / features["fit"].shape[1], 1.0)
    head = whitening_of(features["fit"].split(16), power=power, spectrum=spectrum, max_channels=channels)
    bias = head.bias.view(1, -1, 1, 1)
    return {part: torch.cat([(torch.einsum("nc,bchw->bnhw", head.matrix, f.float()) + bias).half()
                             for f in maps.split(16)]) for part, maps in features.items()}  # fmt: skip


def energies(features: Maps) -> Iterator[tuple[str, Maps]]:
    """Gaussian energies of the whitened latent: plain, by position, of half the spectrum, pooled, in context."""
    z = projected(features, power=0.5, channels=448)
    plain = {part: energy(maps) for part, maps in z.items()}
    yield "N(0, I)", plain
    by_position = plain["fit"].mean(dim=0)
    yield "N(0, s_ij I)", {part: plain[part] / by_position for part in PARTS}
    lower = projected(features, power=0.5, channels=224, lower=224)
    yield "N(0, I), lower half", {part: energy(lower[part]) for part in PARTS}
    pooled = {part: maps.float() for part, maps in z.items()}
    total = {part: unit(plain)[part] for part in PARTS}
    for patches in (3, 7, 15):
        scale = whitened({part: box(maps, patches) for part, maps in pooled.items()})
        yield f"features pooled over {patches} x {patches} cells", scale
        total = {part: total[part] + unit(scale)[part] for part in PARTS}
    yield "pooled over 1, 3, 7 and 15 cells, sum", total
    for name, context in CONTEXTS.items():
        yield f"conditional on {name}", whitened(residuals(pooled, context))


def energy(maps: Tensor) -> Tensor:
    """Mean square over the channels."""
    return torch.stack([one.float().square().mean(dim=0) for one in maps])


def whitened(maps: Maps) -> Maps:
    """Energy of the maps once they are whitened anew."""
    z = projected(maps, power=0.5, channels=448)
    return {part: energy(z[part]) for part in PARTS}


def box(maps: Tensor, patches: int) -> Tensor:
    """Means over squares, at the border over the patches that there are."""
    return functional.avg_pool2d(maps, patches, stride=1, padding=patches // 2, count_include_pad=False)


def ring(maps: Tensor, inner: int, outer: int) -> Tensor:
    """Means over a square without its middle."""
    return (box(maps, outer) * outer**2 - box(maps, inner) * inner**2) / (outer**2 - inner**2)


def image_mean(maps: Tensor) -> Tensor:
    """The mean over the image, at every patch."""
    return maps.mean(dim=(2, 3), keepdim=True).expand_as(maps)


CONTEXTS: dict[str, Callable[[Tensor], Tensor]] = {
    "the image's mean": image_mean,
    "image, row and column means": lambda m: torch.cat(
        [image_mean(m), m.mean(dim=3, keepdim=True).expand_as(m), m.mean(dim=2, keepdim=True).expand_as(m)], dim=1
    ),
    "image and ring means": lambda m: torch.cat([image_mean(m), ring(m, 5, 9), ring(m, 9, 17)], dim=1),
}


def residuals(maps: Maps, context: Callable[[Tensor], Tensor]) -> Maps:
    """What a ridge regression on the context leaves."""
    size = context(maps["fit"][:1]).shape[1]
    outer, cross, count = torch.zeros(size, size), torch.zeros(size, maps["fit"].shape[1]), 0
    for batch in maps["fit"].split(16):
        given, wanted = (m.permute(0, 2, 3, 1).flatten(0, 2) for m in (context(batch), batch))
        outer, cross, count = outer + given.T @ given, cross + given.T @ wanted, count + len(given)
    ridge = 0.01 * (outer / count).diagonal().mean() * torch.eye(size)
    weights = torch.linalg.solve(outer / count + ridge, cross / count)
    return {part: torch.cat([m - torch.einsum("cd,nchw->ndhw", weights, context(m)) for m in values.split(16)])
            for part, values in maps.items()}  # fmt: skip


def unit(values: Maps) -> Maps:
    """In standard deviations of the held-out good images."""
    return {part: (values[part] - values["held"].mean()) / values["held"].std() for part in PARTS}


def factors(x: Maps, *, pool: int, channels: int, explained: float) -> tuple[Maps, Maps]:
    """What the principal directions of the flattened latent leave, as maps and as norms."""
    flat = {part: functional.avg_pool2d(maps[:, :channels].float(), pool) for part, maps in x.items()}
    shape = flat["fit"].shape[1:]
    mean = flat["fit"].flatten(1).mean(dim=0)
    _, values, directions = torch.linalg.svd(flat["fit"].flatten(1) - mean, full_matrices=False)
    shares = values.square().cumsum(dim=0) / values.square().sum()
    basis = directions[: int((shares < explained).sum()) + 1]
    maps, norms = {}, {}
    for part in PARTS:
        offset = flat[part].flatten(1) - mean
        left = (offset - offset @ basis.T @ basis).view(-1, *shape)
        coarse = left.square().mean(dim=1, keepdim=True).sqrt()
        maps[part] = functional.interpolate(coarse, size=x[part].shape[2:], mode="bilinear", align_corners=False)[:, 0]
        norms[part] = left.flatten(1).norm(dim=1)
    return maps, norms
