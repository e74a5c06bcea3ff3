"""A decoder that rebuilds the frozen features from a coarse z, for `study.py`: what it cannot rebuild is the map."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from studies.factors.energies import PARTS, Maps, projected

WIDTH, BATCH, EPOCHS, RATE = 128, 16, 5, 1e-3
BOTTLENECKS = ((2, 32), (4, 64))  # patches a side that are averaged, channels of z


def decoded(features: Maps) -> Iterator[tuple[str, Maps, Maps]]:
    """(setting, maps, scores) of each bottleneck: the mean squared error of a patch, and of the whole image."""
    mean = features["fit"].float().mean(dim=(0, 2, 3), keepdim=True)
    deviation = features["fit"].float().std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6)
    for pool, channels in BOTTLENECKS:
        z = projected(features, power=0.5, channels=channels)
        decoder = _trained(z["fit"], features["fit"], mean, deviation, pool)
        errors = {}
        for part in PARTS:
            batches = zip(z[part].split(BATCH), features[part].split(BATCH), strict=True)
            errors[part] = torch.cat([_errors(decoder, given, (f - mean) / deviation, pool) for given, f in batches])
        scores = {part: errors[part].mean(dim=(1, 2)) for part in PARTS}
        yield f"z of {pool} x {pool} cells, {channels} channels", errors, scores


def _trained(z: Tensor, features: Tensor, mean: Tensor, deviation: Tensor, pool: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = nn.Sequential(
            nn.Conv2d(z.shape[1], WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(size=features.shape[2:], mode="bilinear"),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, features.shape[1], 1),
        )
    optimizer = torch.optim.Adam(decoder.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(z), generator=order).split(BATCH):
            wanted = (features[some] - mean) / deviation
            loss = functional.mse_loss(decoder(functional.avg_pool2d(z[some].float(), pool)), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return decoder


@torch.no_grad()
def _errors(decoder: nn.Module, z: Tensor, wanted: Tensor, pool: int) -> Tensor:
    rebuilt: Tensor = decoder(functional.avg_pool2d(z.float(), pool))
    return (rebuilt - wanted).square().mean(dim=1)
