"""The readings of the paper's text as data: what each of them takes, and the sentence that allows it.

`allowed_by` quotes or sums up the text, with its section; "left open" where the text is silent. A reading that says
otherwise than the text is not allowed: it is measured, but it cannot become the preset.
"""

from dataclasses import dataclass, replace
from typing import Literal

OPEN = "left open"
WEIGHTS = "3.1: w_r, w_adv and w_ae are set as 1, 1 and 0.01"
LAYER = '3.1: "the feature representation of the latent variable z"; "A obtained from feature maps"'


@dataclass(frozen=True)
class Reading:
    """One way to train CAVGA_u and to take its attention; defaults are those of the base."""

    name: str
    allowed_by: str | None = None
    """The sentence that allows the change; None: the text says otherwise."""
    losses: Literal["means", "sums"] = "means"
    """L_R and KL as means over pixels and latents, or as sums of an image; L_adv and L_ae are means of images."""
    kl: Literal["evidence", "mean"] = "evidence"
    """KL beside L_R as in the evidence lower bound, or each a mean of its own."""
    adversarial_weight: float = 0.01
    generator: Literal["non-saturating", "minimax"] = "non-saturating"
    """Of encoder and decoder: -log D(x_hat), or the printed log(1 - D(x_hat))."""
    adversarial_start: float = 0.0
    """Share of the steps without L_adv; its weight then rises to w_adv at the end."""
    steps_per_critic: int = 1
    """D takes one step in so many."""
    schedule: Literal["one cycle", "constant", "decay"] = "one cycle"
    """The rate: up over the first tenth of the steps and down to 0, as it is, or a tenth after each fifth."""
    attention_weight: float = 0.01
    layer: Literal["z", "layer1", "layer2", "layer3"] = "layer3"
    scalar: Literal["sum of mu", "sum of z", "energy", "-L_R"] = "sum of mu"
    to_unit: Literal["sigmoid", "channel mean", "min-max", "ReLU, max", "temperature"] = "sigmoid"

    @property
    def is_allowed(self) -> bool:
        """Whether the text, as far as it goes, says nothing else."""
        return self.allowed_by is not None

    @property
    def training(self) -> tuple[object, ...]:
        """What the network depends on, A apart."""
        return (self.losses, self.kl, self.adversarial_weight, self.generator, self.adversarial_start,
                self.steps_per_critic, self.schedule, self.attention_weight)  # fmt: skip

    @property
    def is_deployable(self) -> bool:
        """Whether an exported graph can compute A: it has no backward pass.

        A temperature is left out as well: the mean over channels is the same map in a unit that no batch has to set.
        """
        return self.layer in ("z", "layer3") and self.scalar != "-L_R" and self.to_unit != "temperature"


BASE = Reading("base")
AS_IT_STOOD = Reading("as it stood", WEIGHTS, kl="mean", adversarial_weight=1.0, schedule="decay")
LOSSES = (
    AS_IT_STOOD,
    BASE,
    replace(BASE, name="KL as a mean", kl="mean"),
    replace(BASE, name="w_adv 1", adversarial_weight=1.0, allowed_by=WEIGHTS),
    Reading(
        "sums per image",
        "3.1, Eq. 1: L_R is a sum over i divided by N alone, the number of images",
        losses="sums",
        adversarial_weight=1.0,
    ),
    Reading(
        "w_adv 1, log(1 - D) as printed",
        '3.1, Eq. 2: "log(D(x_i)) + log(1 - D(x_hat_i))", one expression for both players',
        adversarial_weight=1.0,
        generator="minimax",
    ),
    Reading(
        "w_adv from 0 to 1 in the second half",
        f"{WEIGHTS}; from when on is {OPEN}",
        adversarial_weight=1.0,
        adversarial_start=0.5,
    ),
    Reading(
        "w_adv 1, D one step in five",
        f"{WEIGHTS}; the ratio of steps is {OPEN}",
        adversarial_weight=1.0,
        steps_per_critic=5,
    ),
    replace(BASE, name="a tenth of the rate after each fifth", schedule="decay"),
    replace(BASE, name="constant rate", schedule="constant"),
    replace(BASE, name="w_ae 0", attention_weight=0.0),
    replace(BASE, name="w_ae 1", attention_weight=1.0),
)


UNIT = '3.1: "Grad-CAM such that A_ij in [0, 1]", no more'
SCORE = f"the score is {OPEN}"
ATTENTION: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("A at z, sum of z", '3.1: "A computed from the latent variable z"', {"layer": "z", "scalar": "sum of z"}),
    ("A at layer1", LAYER, {"layer": "layer1"}),
    ("A at layer2", LAYER, {"layer": "layer2"}),
    ("sum of z", SCORE, {"scalar": "sum of z"}),
    ("energy", SCORE, {"scalar": "energy"}),
    ("-L_R", SCORE, {"scalar": "-L_R"}),
    ("mean over channels", UNIT, {"to_unit": "channel mean"}),
    ("min-max of each image", UNIT, {"to_unit": "min-max"}),
    ("ReLU, then max", UNIT, {"to_unit": "ReLU, max"}),
    ("temperature", UNIT, {"to_unit": "temperature"}),
)


def attention_readings(trained: Reading) -> tuple[Reading, ...]:
    """One change of attention at a time, on top of a reading that trains."""
    own = trained.allowed_by
    return tuple(
        replace(trained, name=f"{trained.name}; {name}", allowed_by=own and f"{own}. {sentence}", **change)  # type: ignore[arg-type]
        for name, sentence, change in ATTENTION
    )
