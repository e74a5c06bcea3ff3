"""z itself moved by a head, z + h(z, its surroundings), trained through the attention of the mixture's energy.

The prior is fitted to the moved z afterwards, so that one energy is map and score. Centres move with it, and come from
the half of the seen images that a step does not train on: a prior remembers its own.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cavga.model.classifiers import DROPOUT, GUIDED_HIDDEN, with_context
from cavga.model.prior import Energies
from cavga.shapes import LatentMap, PatchScores, Scalar
from cavga.training.factor_model import factors
from cavga.training.fit_guided_head import NUM_NORMAL, NUM_SYNTHETIC, drawn_patches, guided_loss
from cavga.training.fit_prior import all_flattened, energies_by, fitted_prior
from studies.complement.heads import expansion
from studies.complement.latents import Latents

NUM_CENTRES = 1000  # while it is trained
NUM_STEPS, RATE = 300, 1e-3
LEAST_COVERAGE = 0.6  # about what A is on normal patches at first


class Mover(nn.Module):
    """z + h(z, its surroundings, its mean); h is 0 at the start."""

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(GUIDED_HIDDEN, latent_channels, 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Dropout(DROPOUT), nn.Conv2d(3 * latent_channels, GUIDED_HIDDEN, 1), nn.ReLU(),
            nn.Conv2d(GUIDED_HIDDEN, GUIDED_HIDDEN, 1), nn.ReLU(), last,
        )  # fmt: skip

    def forward(self, context: Float[Tensor, "batch context rows columns"]) -> Tensor:
        """The moved z; `context` begins with z itself."""
        moved: Tensor = context[:, : context.shape[1] // 3] + self.layers(context)
        return moved

    def of_patches(self, context: Float[Tensor, "patches context"]) -> Tensor:
        """As `forward`, of single patches."""
        moved: Tensor = self(context[:, :, None, None])[:, :, 0, 0]
        return moved


MOVES: dict[str, Callable[[PatchScores, PatchScores], Scalar]] = {
    "L_ae alone": expansion,
    "bound 0.6 and complement": partial(guided_loss, least=LEAST_COVERAGE),
}


def energies_of_moved(loss: str, latents: Latents, seed: int) -> dict[str, Energies]:
    """Of held, made and test images, by a prior of the seen ones, all moved by a head that MOVES[loss] has trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mover = _trained(MOVES[loss], latents)
    with torch.no_grad():
        z = moved(mover, latents.seen)
        prior = fitted_prior(z, factors(all_flattened(z)), seed)
        return {name: energies_by(prior, moved(mover, getattr(latents, name))) for name in ("held", "made", "test")}


def moved(mover: Mover, z: LatentMap) -> LatentMap:
    """The moved z in half precision."""
    return torch.cat([mover(with_context(part.float())).half() for part in z.split(32)])


def _trained(loss: Callable[[PatchScores, PatchScores], Scalar], latents: Latents) -> Mover:
    mover = Mover(latents.seen.shape[1])
    half = torch.randperm(len(latents.seen)) % 2
    centres = [_some_patches(latents.seen[half != part]) for part in (0, 1)]
    with torch.no_grad():
        some = [_some_patches(latents.seen[half == part]) for part in (0, 1)]
        pairs = zip(some, centres, strict=True)
        units = [_squared(mover.of_patches(a), mover.of_patches(b)).mean() for a, b in pairs]
    optimizer = torch.optim.AdamW(mover.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, NUM_STEPS, pct_start=0.1)
    for step in range(NUM_STEPS):
        part = step % 2
        patches, shares = _drawn(latents, half, part)
        there = mover.of_patches(torch.cat([patches, centres[part]]))
        energy = _squared(there[: len(patches)], there[len(patches) :]) / units[part]
        total = loss(energy.view(len(shares), -1), shares)
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        optimizer.step()
        schedule.step()
    return mover.eval().requires_grad_(False)


def _drawn(latents: Latents, half: Tensor, part: int) -> tuple[Float[Tensor, "patches context"], PatchScores]:
    """Patches of images of one half with their surroundings, half of them anomalous where there are as many."""
    some, others = (
        _draw(among == part, n) for among, n in ((half[latents.sources], NUM_SYNTHETIC), (half, NUM_NORMAL))
    )
    z = torch.cat([latents.synthetic[some], latents.seen[others]]).float()
    labels = torch.cat([latents.labels[some], torch.zeros(len(others), *z.shape[2:])])
    return drawn_patches(with_context(z), labels)


def _draw(among: Tensor, number: int) -> Tensor:
    positions = among.nonzero()[:, 0]
    return positions[torch.randint(len(positions), (number,))]


def _some_patches(z: LatentMap) -> Float[Tensor, "centres context"]:
    each = [with_context(image[None].float())[0].flatten(1).T for image in z]
    rows = torch.cat([patches[torch.randperm(len(patches))[: NUM_CENTRES // len(z) + 1]] for patches in each])
    return rows[torch.randperm(len(rows))[:NUM_CENTRES]]


def _squared(patches: Float[Tensor, "patches latent"], centres: Float[Tensor, "centres latent"]) -> Tensor:
    found = (patches @ centres.T * -2 + centres.square().sum(dim=1)).amin(dim=1) + patches.square().sum(dim=1)
    return found.clamp_min(1e-6)
