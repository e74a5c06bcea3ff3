"""Heads on z that are taught what is not normal, each in its way, and what they say of every patch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch

from cavga.losses import (
    attention_shrinking_loss,
    region_guided_attention_loss,
)
from cavga.model.classifiers import GuidedHead, PatchClassifier
from cavga.model.prior import smoothed
from cavga.shapes import LatentMap, PatchScores, Scalar, ScoreMap
from cavga.training import fit_guided_head
from cavga.training.fit_classifier import or_left_out
from cavga.training.fit_guided_head import Examples, guided_loss, train_guided_head
from studies.complement.latents import Latents

C_STEPS, C_RATE, C_DECAY, C_WARM_UP = 1000, 2e-3, 1e-3, 0.1  # of C before the guided head (decision 0012)
C_SYNTHETIC, C_NORMAL = 8, 4  # images a step


def expansion(energy: PatchScores, shares: PatchScores) -> Scalar:
    """L_ae of Eq. 3 on what is normal."""
    is_normal = shares == 0
    return ((1 - (-energy / 2).exp()) * is_normal).sum() / is_normal.sum()


LOSSES: Mapping[str, Callable[[PatchScores, PatchScores], Scalar]] = {
    "L_ae alone": expansion,
    "L_ae and complement": lambda energy, shares: expansion(energy, shares) + attention_shrinking_loss(energy, shares),
    "bound 0.8 and complement": partial(guided_loss, least=0.8),
    "bound 0.9 and complement": partial(guided_loss, least=0.9),
    "bound 0.95 and complement": partial(guided_loss, least=0.95),
}


@dataclass(frozen=True)
class Said:
    """What a head says of every patch, smoothed as the map is: of the held, the made and the test images."""

    held: ScoreMap
    made: ScoreMap
    test: ScoreMap

    def __add__(self, other: "Said") -> "Said":
        """Half of each, both in standard deviations of the held images."""
        pairs = [(part, getattr(self, part), getattr(other, part)) for part in ("held", "made", "test")]
        return Said(**{part: (_in_units(a, self.held) + _in_units(b, other.held)) / 2 for part, a, b in pairs})


def _in_units(values: ScoreMap, normal: ScoreMap) -> ScoreMap:
    return (values - normal.mean()) / normal.std()


def said_by_guided_head(loss: str, latents: Latents, seed: int) -> Said:
    """||y|| of a head that is trained as `r-s` trains it, by one of LOSSES."""
    with torch.random.fork_rng(devices=[]), patch.object(fit_guided_head, "guided_loss", LOSSES[loss]):
        torch.manual_seed(seed)
        head = GuidedHead(latent_channels=latents.seen.shape[1])
        head.unit.copy_(or_left_out(latents.seen.float().std(dim=(0, 2, 3))))
        train_guided_head(head, Examples(latents.seen, latents.synthetic, latents.labels, latents.seen[:0]))
    return _of_all(head.eval().distance, latents)


def said_by_c(latents: Latents, seed: int) -> Said:
    """The logits of C."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = PatchClassifier(latent_channels=latents.seen.shape[1])
        classifier.unit.copy_(or_left_out(latents.seen.float().std(dim=(0, 2, 3))))
        optimizer = torch.optim.AdamW(classifier.parameters(), C_RATE, weight_decay=C_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, C_RATE, C_STEPS, pct_start=C_WARM_UP)
        classifier.train()
        for _ in range(C_STEPS):
            some, others = (
                torch.randint(len(z), (count,))
                for z, count in ((latents.synthetic, C_SYNTHETIC), (latents.seen, C_NORMAL))
            )
            logits = classifier.cam(torch.cat([latents.synthetic[some], latents.seen[others]]).float())
            labels = torch.cat([latents.labels[some], torch.zeros(C_NORMAL, *logits.shape[1:])])
            loss = region_guided_attention_loss(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.eval()
    return _of_all(lambda z: smoothed(classifier.cam(z)), latents)


@torch.no_grad()
def _of_all(says: Callable[[LatentMap], ScoreMap], latents: Latents) -> Said:
    parts = (latents.held, latents.made, latents.test)
    return Said(*(torch.cat([says(some.float()) for some in z.split(32)]) for z in parts))
