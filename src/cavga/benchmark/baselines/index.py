"""Every baseline: a comparison method is one file beside this one, and one line here.

Tables take from here which baselines stand in them, Table 1 what it says of each, and `run_baseline` how to make one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cavga.benchmark.baselines.adgan import ADGAN
from cavga.benchmark.baselines.advae import ADVAE
from cavga.benchmark.baselines.ae_l2 import AE_L2
from cavga.benchmark.baselines.ae_ssim import AE_SSIM
from cavga.benchmark.baselines.anogan import ANOGAN
from cavga.benchmark.baselines.avid import AVID
from cavga.benchmark.baselines.beta_vae import BETA_VAE
from cavga.benchmark.baselines.capsnet import CAPSNET_PP, CAPSNET_RE
from cavga.benchmark.baselines.cnnfd import CnnfdGraph
from cavga.benchmark.baselines.explanations import cam, guided_backprop, smoothgrad
from cavga.benchmark.baselines.gamma_vae_g import GammaVaeGraph
from cavga.benchmark.baselines.lsa import LSA
from cavga.benchmark.baselines.memae import MEMAE
from cavga.benchmark.baselines.ocgan import OCGAN
from cavga.benchmark.baselines.padim import PadimGraph
from cavga.benchmark.baselines.patchcore import PatchcoreGraph
from cavga.benchmark.baselines.patchcore_factors import PatchcoreFactorsGraph
from cavga.benchmark.baselines.patho_gan import patho_gan
from cavga.benchmark.baselines.texture_inspection import TextureGraph
from cavga.benchmark.baselines.ulslm import ULSLM
from cavga.benchmark.baselines.variation_model import VariationGraph

ON_FEATURES, TRAINED, FITTED, LABELLED = "on features", "trained", "fitted", "of image labels"


@dataclass(frozen=True)
class Baseline:
    """A comparison method.

    `make` gives the graph: of ON_FEATURES called with a model, image_size and seed, of TRAINED and FITTED with a
    configuration. Of LABELLED it is the function that explains a classifier of image labels.
    """

    name: str
    """In tables of experiments, where what it stands on may be added."""
    kind: str
    """ON_FEATURES of another run, TRAINED with a network of its own, FITTED without training one, or LABELLED: trained
    on image labels."""
    make: Any
    tables: Sequence[str] = ()
    """Where it stands, beside Table 1, which has them all."""
    epochs: int = 0
    """In Table 7: what fits into its minutes."""
    paper_name: str = ""
    """In Table 1, where it is another."""
    no_modes: str = ""
    """Why it is not shown to localize several modes of anomalies."""
    paper: str = ""
    """In the table of docs/benchmarks.md, which has those with a paper here."""
    chosen: str = ""
    """There: what its paper leaves open, or has otherwise."""

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
    "memae": Baseline(
        "MemAE", TRAINED, MEMAE, ("table7",), epochs=1, paper="Gong et al., ICCV 2019",
        chosen="z one vector of 64, so one question an image; 100 items; networks of d-u",
    ),
    "lsa": Baseline(
        "LSA", TRAINED, LSA, ("table7",), epochs=1, paper="Abati et al., CVPR 2019",
        chosen="the score is the objective, terms not rescaled on held-out images; z of 32 units, 16 features a unit",
    ),
    "ocgan": Baseline(
        "OCGAN", TRAINED, OCGAN, ("table7",), epochs=1, paper="Perera et al., CVPR 2019",
        chosen="weight of the residual ten times the paper's; negatives by 3 steps on z; networks of d-u",
    ),
    "anogan": Baseline(
        "AnoGAN", TRAINED, ANOGAN, ("table7",), epochs=1, paper="Schlegl et al., IPMI 2017",
        chosen="40 steps of Adam from z = 0 at test time (the paper: 500), each a pass forward and back; GAN of d-u",
    ),
    "adgan": Baseline(
        "ADGAN", TRAINED, ADGAN, ("table7",), epochs=1, paper="Deecke et al., ECML PKDD 2018",
        chosen="2 starts of 5 steps at test time, each with a generator of the image's own; GAN as AnoGAN's",
    ),
    "cnnfd": Baseline(
        "CNNFD", FITTED, CnnfdGraph, ("table3",), paper="Napoletano et al., Sensors 2018",
        chosen="patches 8 px apart; means of the last stage that the weights have; 5000 patches drawn",
    ),
    "ti": Baseline(
        "TI", FITTED, TextureGraph, ("table3",), paper="Böttger and Ulrich, Pattern Recognit. Image Anal. 2016",
        chosen="3 levels, 5 Gaussians, 16 random projections of 7 x 7 px; grey; 5000 patches drawn a level",
    ),
    "vm": Baseline(
        "VM", FITTED, VariationGraph, ("table3",), paper="Steger et al., Machine Vision Algorithms, 2018",
        chosen="no alignment before; a deviation is at least 5 of 255; grey",
    ),
    "avid": Baseline(
        "AVID", TRAINED, AVID, ("table3",), epochs=20, paper="Sabokrou et al., ACCV 2018",
        chosen="inpainter d-u's autoencoder with a map-shaped z; the map is residual times the detector's probability",
    ),
    "ulslm": Baseline(
        "ULSLM", TRAINED, ULSLM, ("table7",), epochs=1, paper="Wolf et al., ICLR 2019",
        no_modes="which changes raise its map depends on what its generators happen to make",
        chosen="the comparator is a difference of values; both generators d-u's autoencoders; weight of nearness 10",
    ),
    "capsnet_pp": Baseline(
        "CapsNet PP", TRAINED, CAPSNET_PP, ("table7",), epochs=1, paper="Li et al., ICML workshop 2019",
        chosen="primary capsules of d-u's encoder to stage 3; good images alone, so one class is ever present",
    ),
    "capsnet_re": Baseline(
        "CapsNet RE", TRAINED, CAPSNET_RE, ("table7",), epochs=1, paper="Li et al., ICML workshop 2019",
        chosen="as CapsNet PP; the score is the squared residual",
    ),
    "cam": Baseline("CAM", LABELLED, cam, ("table5",), no_modes=_TAUGHT),
    "guided_backprop": Baseline("GBP", LABELLED, guided_backprop, ("table5",), no_modes=_TAUGHT),
    "smoothgrad": Baseline("SmoothGrad", LABELLED, smoothgrad, ("table5",), no_modes=_TAUGHT),
    "patho_gan": Baseline(
        "Patho-GAN", LABELLED, patho_gan, ("table5",), no_modes=_TAUGHT, paper="Wang et al., MICCAI 2019",
        chosen="the visualization alone, no GAN; of the more active half the more compact half; classifier as CAM's",
    ),
}  # fmt: skip


def of_kind(kind: str) -> dict[str, Any]:
    """What makes each baseline of a kind, by its method."""
    return {method: found.make for method, found in BASELINES.items() if found.kind == kind}


def in_table(table: str, kind: str) -> list[tuple[str, Baseline]]:
    """The methods of a kind that stand in a table, in order."""
    return [(method, found) for method, found in BASELINES.items() if found.kind == kind and table in found.tables]
