"""An experiment of a table: which model is trained on which data with which seed."""

from dataclasses import dataclass, field
from typing import Any, Literal

from cavga.config.presets import PRESETS, make_config
from cavga.config.schema import PUBLISHED_SIZE, RunConfig
from cavga.config.variant import VARIANTS

Overrides = dict[str, dict[str, Any]]
SCREW = "mvtec_ad/screw"
TILE = "magnetic_tile"
JUICE = "mvtec_loco/juice_bottle"
ELPV = "elpv_mono"
PIPED = "piped_paper"
PED2 = "ucsd_ped2"
# Rows of every day have to be comparable, so a default that follows the photographs is not theirs.
PUBLISHED: Overrides = {"data": {"image_size": PUBLISHED_SIZE}}
# What R of `paper` can be with weights that end at layer3, on two cores.
FROZEN_PAPER: Overrides = {
    "model": {"stages": (3,), "train_encoder": False, "latent_channels": 256},
    "training": {"epochs": 4},
}
FROZEN_PAPER_NOTE = "R to layer3, frozen: the weights at hand end there; 4 epochs of 150"


@dataclass(frozen=True)
class Experiment:
    """One row of a table."""

    name: str
    data: str
    """Folder below the table's data root."""
    method: str = "cavga"
    """"cavga", or a baseline of cavga.benchmark.baselines; some stand on the features of the experiment that
    `features_of` names."""
    preset: str = "recommended"
    overrides: Overrides = field(default_factory=dict)
    seed: int = 0
    features_of: str | None = None
    without: str | None = None
    """An experiment of the same data and seed, run before, whose training images are left out of the test as well."""
    paper: str | None = None
    """Of PIPED one of its papers, by itself: photographs whose names begin with it."""
    normal_class: str | None = None
    """Of a set of several classes the one that is normal."""
    contamination: float | None = None
    """Share of the training images that are anomalous test images labelled good; None leaves the data as they are.

    At any share, 0.0 too, the images of the largest one of CONTAMINATION_SHARES are not tested.
    """
    num_images: int | Literal["all"] | None = None
    """So many of the normal training images, drawn by the seed, a smaller number out of a larger; "all" and None: all.

    "all" is the last point of a curve, None an experiment of another table. The test images are those of the data.
    """
    with_spare: bool = False
    """LAG: the suspicious images that its split leaves over are training images too, labelled so."""
    note: str = ""
    is_extra: bool = False
    """On a data set that the paper does not have: left out where it is not there."""

    @property
    def folder(self) -> str:
        """Where the experiment's run lies below the output."""
        chosen = "" if self.chosen is None else f", {self.chosen}"
        chosen += "" if self.num_images is None else f", {self.num_images} images"
        return f"{self.name}/{self.data.replace('/', '-')}{chosen}/seed-{self.seed}"

    @property
    def set_name(self) -> str:
        """The data set: the first folder below the data root."""
        return self.data.partition("/")[0]

    @property
    def chosen(self) -> str | None:
        """The category (scene), normal class or paper that is chosen within the folder."""
        return self.normal_class or self.paper or self.overrides.get("data", {}).get("category")

    @property
    def part(self) -> str | None:
        """The category, scene, class or paper of the data set; None where it is measured as a whole."""
        return self.chosen or self.data.partition("/")[2] or None

    @property
    def kind(self) -> str:
        """The variant of one of our models, the method of a baseline."""
        variant: str = self.overrides.get("model", {}).get("variant", PRESETS[self.preset].model.variant)
        return variant if self.method == "cavga" else self.method

    @property
    def supervision(self) -> str | None:
        """Of one of our models; None of a baseline."""
        return VARIANTS[self.kind].supervision if self.method == "cavga" else None

    def config(self) -> RunConfig:
        chosen: Overrides = {} if self.normal_class is None else {"data": {"normal_class": self.normal_class}}
        return make_config(self.preset, PUBLISHED, self.overrides, chosen, {"training": {"seed": self.seed}})


def merge(first: Overrides, second: Overrides) -> Overrides:
    """Two overrides, the second winning."""
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in {**first, **second}}
