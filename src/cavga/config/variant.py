"""A variant's name taken apart once, and the plan of its training."""

from dataclasses import dataclass
from enum import Enum
from typing import Literal


@dataclass(frozen=True)
class Variant:
    """A backbone (r: ResNet-18, or as configured; d: DC-GAN) and a supervision.

    Supervision: u takes good images only, s synthetic anomalies on them too, w a few images labelled bad too.
    """

    backbone: Literal["r", "d"]
    supervision: Literal["u", "w", "s"]

    @property
    def name(self) -> str:
        """As settings and model.json spell it: "r-s"."""
        return f"{self.backbone}-{self.supervision}"


_SUPERVISIONS: tuple[Literal["s", "u", "w"], ...] = ("s", "u", "w")
_BACKBONES: tuple[Literal["r", "d"], ...] = ("r", "d")
VARIANTS = {
    variant.name: variant
    for variant in (Variant(backbone, supervision) for supervision in _SUPERVISIONS for backbone in _BACKBONES)
}


class TrainingPlan(Enum):
    """What the training loop trains, and what is fitted before it or after it."""

    WHITENED_FIRST = "whitened first"
    """Frozen encoder: mu is fitted by whitening, then the loop trains a decoder alone. The default."""
    WHITENED_AFTER = "whitened after"
    """The loop trains the encoder by Eq. 4, then mu is fitted to what it learnt."""
    TRAINED = "trained"
    """The loop trains encoder, mu, log variance and C by Eq. 4 or 6. The paper's."""
    END_TO_END = "end to end"
    """As TRAINED, by Eq. 6 on synthetic anomalies: s without pretrained weights."""

    @property
    def is_whitened(self) -> bool:
        """Whether mu is fitted; a C is then fitted too, once mu is fixed."""
        return self in (TrainingPlan.WHITENED_FIRST, TrainingPlan.WHITENED_AFTER)
