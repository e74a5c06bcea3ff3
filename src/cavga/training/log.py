"""What one step and one epoch of training say: loss terms, the latent's health, the classifier's decisions."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cavga.shapes import ClassLogits, Labels, LatentMap

ACTIVE_VARIANCE = 0.01  # a latent channel whose mu varies less than this is not used (Burda et al. 2016)


@dataclass(frozen=True)
class StepLosses:
    """Every term of one step by its name, detached, and what it was computed from.

    `coverage` is mean A of each normal image of the batch; `calls` counts images by (label, called).
    """

    terms: dict[str, Tensor]
    mu: LatentMap
    kl_per_channel: Tensor
    coverage: Tensor
    calls: Tensor


def count_calls(class_logits: ClassLogits | None, labels: Labels) -> Tensor:
    """How many images of each label (rows) C calls normal and anomalous (columns); zeros without C."""
    counts = torch.zeros(2, 2, dtype=torch.int64, device=labels.device)
    if class_logits is None:
        return counts
    return counts.index_put_((labels, class_logits.argmax(dim=1)), torch.ones_like(labels), accumulate=True)


class EpochRecord:
    """Sums over one epoch: loss terms, latent statistics and decisions, for one line of log.jsonl."""

    def __init__(self, num_channels: int, device: torch.device) -> None:
        self.num_images = 0
        self.num_positions = 0
        self.terms: dict[str, float] = {}
        self.latent = torch.zeros(3, num_channels, dtype=torch.float64, device=device)  # mu, mu^2, KL
        self.covered, self.num_normal = 0.0, 0
        self.calls = torch.zeros(2, 2, dtype=torch.int64, device=device)

    def add(self, losses: StepLosses) -> dict[str, float]:
        """Add one step; returns its terms as numbers."""
        count = len(losses.mu)
        terms = {name: float(value) for name, value in losses.terms.items()}
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value * count
        rows = losses.mu.permute(1, 0, 2, 3).flatten(1).double()
        self.latent += torch.stack(
            [rows.sum(dim=1), rows.square().sum(dim=1), losses.kl_per_channel.double() * rows.shape[1]]
        )
        self.num_positions += rows.shape[1]
        self.num_images += count
        self.covered += float(losses.coverage.sum())
        self.num_normal += len(losses.coverage)
        self.calls += losses.calls
        return terms

    def line(self, epoch: int, seconds: float) -> dict[str, Any]:
        """The log line: mean of every term, KL per channel, active units, attention coverage, decisions."""
        means = {name: value / self.num_images for name, value in self.terms.items()}
        mean, square, kl = self.latent / self.num_positions
        active = int((square - mean.square() > ACTIVE_VARIANCE).sum())
        line = {
            "epoch": epoch,
            **means,
            "attention_coverage": self.covered / max(1, self.num_normal),
            "active_units": active,
            "kl_per_channel": [round(value, 6) for value in kl.tolist()],
            "seconds": round(seconds, 3),
        }
        if self.calls.any():
            (passed, alarms), (missed, found) = self.calls.tolist()
            line |= {"false_alarm_rate": alarms / max(1, passed + alarms), "recall": found / max(1, missed + found)}
        return line


def collapse_warnings(line: dict[str, Any], *, is_attention_trained: bool = True) -> list[str]:
    """What is wrong with the latent or the attention after an epoch, in words; usually nothing."""
    found = []
    if line["active_units"] == 0:
        found.append("the latent has collapsed: no channel of mu varies, the reconstruction ignores the image")
    if is_attention_trained and not 0.01 < line["attention_coverage"] < 0.99:
        found.append(
            f"attention has collapsed: mean A is {line['attention_coverage']:.3f}, the same everywhere; "
            "the map localizes nothing"
        )
    return found
