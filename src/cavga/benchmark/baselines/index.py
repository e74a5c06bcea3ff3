"""Every baseline: a comparison method is one file beside this one, and one line here.

Tables take from here which baselines stand in them, Table 1 what it says of each, and `run_baseline` how to make one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cavga.benchmark.baselines.advae import ADVAE
from cavga.benchmark.baselines.ae_l2 import AE_L2
from cavga.benchmark.baselines.ae_ssim import AE_SSIM
from cavga.benchmark.baselines.beta_vae import BETA_VAE
from cavga.benchmark.baselines.explanations import cam, guided_backprop, smoothgrad
from cavga.benchmark.baselines.gamma_vae_g import GammaVaeGraph
from cavga.benchmark.baselines.padim import PadimGraph
from cavga.benchmark.baselines.patchcore import PatchcoreGraph
from cavga.benchmark.baselines.patchcore_factors import PatchcoreFactorsGraph

ON_FEATURES, TRAINED, LABELLED = "on features", "trained", "of image labels"


@dataclass(frozen=True)
class Baseline:
    """A comparison method.

    `make` gives the graph: of ON_FEATURES called with a model, image_size and seed, of TRAINED with a configuration. Of
    LABELLED it is the function that explains a classifier of image labels.
    """

    name: str
    """In tables of experiments, where what it stands on may be added."""
    kind: str
    """ON_FEATURES of another run, TRAINED with a network of its own, or LABELLED: trained on image labels."""
    make: Any
    tables: Sequence[str] = ()
    """Where it stands, beside Table 1, which has them all."""
    epochs: int = 0
    """In Table 7: what fits into its minutes."""
    paper_name: str = ""
    """In Table 1, where it is another."""
    no_modes: str = ""
    """Why it is not shown to localize several modes of anomalies."""

    @property
    def title(self) -> str:
        """In Table 1."""
        added = {ON_FEATURES: ", features of r-u", LABELLED: ", image labels"}
        return (self.paper_name or self.name) + added.get(self.kind, "")


_TAUGHT = "its map shows what the classifier was taught to tell apart"
BASELINES = {
    "padim": Baseline(
        "PaDiM", ON_FEATURES, PadimGraph,
        ("textures", "screw", "accuracy", "new-sets", "contamination", "table3", "table5"),
    ),
    "padim_finest": Baseline(
        "PaDiM at the finest stage", ON_FEATURES, partial(PadimGraph, at_finest=True), ("accuracy",)
    ),
    "patchcore": Baseline(
        "PatchCore", ON_FEATURES, PatchcoreGraph, ("accuracy", "new-sets", "contamination", "table3")
    ),
    "patchcore_25": Baseline(
        "PatchCore, 25 %", ON_FEATURES, partial(PatchcoreGraph, coreset_share=0.25), ("new-sets",)
    ),
    "patchcore_factors": Baseline(
        "PatchCore and factor model", ON_FEATURES, PatchcoreFactorsGraph, ("accuracy", "new-sets", "auto-size")
    ),
    "ae_l2": Baseline("AE, L2", TRAINED, AE_L2, ("table7",), epochs=4, paper_name="AE_L2"),
    "ae_ssim": Baseline("AE, SSIM", TRAINED, AE_SSIM, ("table7",), epochs=4, paper_name="AE_SSIM"),
    "beta_vae": Baseline("beta-VAE", TRAINED, BETA_VAE, ("table7",), epochs=4),
    "advae": Baseline(
        "ADVAE", TRAINED, ADVAE, ("table7",), epochs=4,
        no_modes="nothing in its training makes attention high on what is not normal",
    ),
    "gamma_vae_g": Baseline("gamma-VAE_g", TRAINED, GammaVaeGraph, ("table7",), epochs=2),
    "cam": Baseline("CAM", LABELLED, cam, ("table5",), no_modes=_TAUGHT),
    "guided_backprop": Baseline("GBP", LABELLED, guided_backprop, ("table5",), no_modes=_TAUGHT),
    "smoothgrad": Baseline("SmoothGrad", LABELLED, smoothgrad, ("table5",), no_modes=_TAUGHT),
}  # fmt: skip


def of_kind(kind: str) -> dict[str, Any]:
    """What makes each baseline of a kind, by its method."""
    return {method: found.make for method, found in BASELINES.items() if found.kind == kind}


def in_table(table: str, kind: str) -> list[tuple[str, Baseline]]:
    """The methods of a kind that stand in a table, in order."""
    return [(method, found) for method, found in BASELINES.items() if found.kind == kind and table in found.tables]
