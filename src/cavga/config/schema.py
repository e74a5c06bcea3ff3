"""Every setting, written once: frozen dataclasses, from which TOML and command-line flags follow.

A preset is a `RunConfig` (cavga.config.presets). Defaults < preset < TOML file < flags.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from cavga.config.backbones import BACKBONES, check_encoder
from cavga.config.fields import check_choice, parse_rectangle, setting
from cavga.config.variant import VARIANTS, TrainingPlan
from cavga.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")
MAP_KINDS = ("float32", "uint16")  # of the files that hold anomaly maps
MAX_IMAGE_SIZE = 1024
SIZE_STEP = 32  # px, the stride of an encoder's last stage
AUTO = "auto"  # an image size that follows from the training photographs
PUBLISHED_SIZE = (256, 256)  # of what has to stay comparable: preset paper and the benchmark's tables
SMALLEST_TILE = 32  # px of a photograph


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are brought to the model."""

    image_size: tuple[int, int] | str = setting(
        AUTO,
        "height and width of the model's input: N, HxW, or auto: shape and pixels of the median training "
        "photograph, at least 256 x 256 and at most 384 x 384 pixels",
        everyday=True,
    )
    category: str | None = setting(None, "which category, where the data holds several")
    normal_class: str | None = setting(
        None, "which class is normal, by name or number, where the data holds several (MNIST, CIFAR-10)"
    )
    mask_cut: float = setting(0.5, "LAG: share of an attention map's maximum from which on it is mask")
    layout: str | None = setting(None, "how the data is laid out, if it is not recognised")  # of data.readers.layouts
    calibration_fraction: float = setting(
        0.2, "share of the good images held out to set thresholds, where folds do not"
    )
    anomalous_fraction: float = setting(
        0.02, "w: share of the test's anomalous images to train on, where none is labelled for training"
    )
    skip_bad: bool = setting(False, "train without the images that cannot be read")
    drop_suspicious: bool = setting(
        False, "train without the good images that score far above all others, as models say that had not seen them"
    )
    tile: int | None = setting(
        None,
        "cut photographs into square tiles of so many of their pixels, for defects that are small in them",
        everyday=True,
    )
    roi: str | None = setting(
        None,
        "the part of a photograph that counts: x,y,width,height in its pixels, or a mask image of its size",
        everyday=True,
    )
    augment: bool = setting(False, "random flips and quarter turns in training")

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's input, once the training photographs have settled it."""
        if isinstance(self.image_size, str):
            raise ValueError("the image size is not settled: cavga.images.input_size.settled_size settles it")
        return self.image_size


@dataclass(frozen=True)
class ModelConfig:
    """The network, its attention and its scores."""

    variant: str = setting(
        "r-s",
        "backbone (r: ResNet-18, d: DC-GAN) and supervision (u: good images only, s: and anomalies made on them, "
        "w: and a few images labelled bad)",
        tuple(VARIANTS),
        everyday=True,
    )
    encoder: str | None = setting(
        None, "r: the network of the encoder; default resnet18", tuple(BACKBONES), everyday=True
    )
    weights: str | None = setting(
        None,
        "encoder weights: imagenet, a file, or none, a last resort; default imagenet for r, none for d",
        everyday=True,
    )
    gan_weights: str | None = setting(None, "file of `cavga pretrain` that DC-GAN's parts start from; default none")
    stages: tuple[int, ...] | None = setting(
        None,
        "encoder stages that feed the latent, 1 to 4 (r: 0 is the stem); default 1,2,3, without weights 0,1 (d: 1)",
    )
    features: str | None = setting(
        None, "features as they are, or their logarithm; default: log only without weights", ("linear", "log")
    )
    train_encoder: bool | None = setting(None, "train the encoder; default: only if it starts without weights")
    latent: str | None = setting(
        None,
        "how mu is set: by whitening the features, or trained; default whitened, trained for s without weights",
        ("whitened", "trained"),
    )
    train_latent: bool = setting(False, "go on training a whitened mu (a study: it loses the signal)")
    latent_shape: str = setting(
        "map", "z as a map (conv z), or flattened to a vector of latent_channels units (Table 8)", ("map", "vector")
    )
    latent_channels: int = setting(128, "channels of z; of a whitened z at most as many")
    whitening: float | None = setting(
        None, "power of the variances that whitening divides by, 0 to 0.5; default 0.25, 0.5 for a Gaussian prior"
    )
    spectrum: tuple[float, float] = setting((0.0, 1.0), "range kept of the whitened directions, by falling variance")
    map_cell: int = setting(8, "pixels of the input a side of a patch of a whitened latent map: 2, 4 or 8")
    prior: str | None = setting(
        None,
        "what z is held against: what the training images' z look like, or N(0, s I), with s fitted at each position "
        "or 1; default aggregated with weights, by_position without",
        ("aggregated", "by_position", "standard"),
    )
    decoder_width: int = setting(16, "channels of the decoder before its last layer")
    decoder_skip: bool = setting(True, "the skip connections of the residual decoder (r)")
    attention: str | None = setting(
        None,
        "the score that attention explains; default energy for a whitened latent, else latent_sum (u) or class (w)",
        ("energy", "latent_sum", "class"),
    )
    attention_scale: str = setting(
        "sum",
        "latent_sum: Grad-CAM as a sum over the features' channels, whose sigmoid saturates, or as their mean",
        ("sum", "mean"),
    )
    image_score: str | None = setting(
        None,
        "the image's score: from the anomaly map, the residual, the difference of the classes' logits, or (joint) "
        "map and classes together; default by attention: map for energy (w: joint, unless the prior is aggregated), "
        "residual for latent_sum, class",
        ("map", "residual", "class", "joint"),
    )
    class_score: str = setting("logit", "w: what a class's attention explains", ("logit", "probability"))
    map_gate: str = setting("always", "w: which images get a map; others get zeros", ("always", "predicted_anomalous"))

    @property
    def backbone(self) -> str:
        """The backbone: "r" or "d"."""
        return VARIANTS[self.variant].backbone

    @property
    def supervision(self) -> str:
        """The supervision: "u", "s" or "w"."""
        return VARIANTS[self.variant].supervision

    @property
    def plan(self) -> TrainingPlan:
        """How a model of resolved settings is trained."""
        if self.latent is None or self.train_encoder is None:
            raise ValueError("the configuration is not resolved: cavga.config.resolve.resolve fills in the latent")
        if self.latent == "whitened":
            return TrainingPlan.WHITENED_AFTER if self.train_encoder else TrainingPlan.WHITENED_FIRST
        return TrainingPlan.END_TO_END if self.supervision == "s" else TrainingPlan.TRAINED


@dataclass(frozen=True)
class LossConfig:
    """The weights of Eq. 4 and Eq. 6."""

    vae_weight: float = setting(1.0, "w_r, weight of L = L_R + KL")
    reduction: str = setting(
        "means",
        "L_R and KL as means over the pixels and over the latents, or as sums of an image, beside which the losses of "
        "whole images (L_adv, L_ae, L_bce, L_cga) weigh little",
        ("means", "sums"),
    )
    kl_weight: float = setting(1e-3, "weight of KL within L (1 in the paper)")
    adversarial_weight: float | None = setting(
        None, "w_adv, weight of L_adv (1 in the paper); default 0.01, 0 for s without weights: no discriminator then"
    )
    attention_weight: float = setting(0.01, "w_ae, weight of L_ae")
    classification_weight: float = setting(1.0, "w_c, weight of L_bce (w; 0.001 in the paper)")
    guided_attention_weight: float = setting(0.01, "w_cga, weight of L_cga (w)")
    region_weight: float = setting(1.0, "s without weights: weight of L_cga where the place of an anomaly is known")
    class_balance: str = setting(
        "weighted", "L_bce with every image alike, or with both classes alike", ("plain", "weighted")
    )


@dataclass(frozen=True)
class TrainingConfig:
    """The optimisation."""

    seed: int = setting(0, "seed of weights, order, augmentation and noise")
    epochs: int | None = setting(
        None,
        "passes over the training images; default 10, and 1 where only the decoder is trained: its reconstruction is "
        "read by no score of a whitened latent",
    )
    steps_per_epoch: int | None = setting(
        None, "steps an epoch, the images taken again and again; default: as many as one pass over them takes"
    )
    batch_size: int = setting(16, "images a step")
    learning_rate: float = setting(1e-3, "Adam's step size")
    schedule: str | None = setting(
        None,
        "the step size through the training: constant, or one_cycle: up over its first tenth, then down to 0; default "
        "one_cycle for s without weights, else constant",
        ("constant", "one_cycle"),
    )
    device: str = setting("auto", "where to compute", DEVICES, everyday=True)


@dataclass(frozen=True)
class CalibrationConfig:
    """How thresholds are set from held-out normal images."""

    threshold_rule: str = setting(
        "conformal", "conformal: an order statistic; fixed: the paper's cuts at 0.5", ("conformal", "fixed")
    )
    false_alarm_rate: float = setting(0.05, "share of normal images that may be predicted anomalous", everyday=True)
    mask_false_alarm_rate: float = setting(0.1, "share of normal images whose mask may show anything")


@dataclass(frozen=True)
class RunConfig:
    """Everything a training run depends on, the images apart."""

    preset: str = "recommended"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)

    def __post_init__(self) -> None:
        for section in SECTIONS:
            part = getattr(self, section)
            for item in fields(part):
                check_choice(item.name, getattr(part, item.name), item.metadata["choices"])
        _check_data(self.data)
        _check_model(self.model)
        _check_classes(self.model)
        if self.preset == "paper" and self.model.supervision == "s":
            raise UsageError(f"variant {self.model.variant} is not the paper's: it is for preset recommended")
        if self.data.tile is not None and self.model.supervision == "w":
            raise UsageError(
                f"tile does not go with variant {self.model.variant}: which tile of a photograph labelled bad shows "
                "its defect is not known; use r-s or r-u"
            )
        _check_training(self)


SECTIONS = {item.name: item.default_factory for item in fields(RunConfig) if item.name != "preset"}

# What runs of before decision 0026 had, which do not say so; preset `paper` has had other values since.
EARLIER: dict[str, dict[str, Any]] = {
    "model": {"attention_scale": "sum"},
    "loss": {"reduction": "means"},
    "training": {"schedule": None},
}


def as_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as nested plain values, tuples as lists: what goes into model.json."""
    result: dict[str, Any] = {"preset": config.preset}
    for section in SECTIONS:
        part = getattr(config, section)
        values = {item.name: getattr(part, item.name) for item in fields(part)}
        result[section] = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
    if config.training.steps_per_epoch is None:  # as in runs and rows of versions without these settings
        del result["training"]["steps_per_epoch"]
    for section, values in EARLIER.items() if config.preset == "recommended" else ():
        for key, value in values.items():
            if result[section][key] == value:
                del result[section][key]
    if config.model.map_cell == ModelConfig.map_cell:
        del result["model"]["map_cell"]
    return result


def epochs_of(config: RunConfig) -> int:
    """The epochs of a resolved configuration."""
    if config.training.epochs is None:
        raise ValueError("the configuration is not resolved: cavga.config.resolve.resolve fills in the epochs")
    return config.training.epochs


def is_one_cycle(config: RunConfig) -> bool:
    """Whether the learning rate of a resolved configuration goes up over the first tenth, then down to 0."""
    if config.training.schedule is None:
        return config.model.plan is TrainingPlan.END_TO_END
    return config.training.schedule == "one_cycle"


def images_per_epoch(training: TrainingConfig, num_images: int) -> int:
    """How many images an epoch takes, those that it takes again among them."""
    return num_images if training.steps_per_epoch is None else training.steps_per_epoch * training.batch_size


def _check_data(data: DataConfig) -> None:
    for side in () if data.image_size == AUTO else data.input_size:
        if side % SIZE_STEP or not SIZE_STEP <= side <= MAX_IMAGE_SIZE:
            raise UsageError(
                f"image size {side} does not fit: expected a multiple of {SIZE_STEP} "
                f"from {SIZE_STEP} to {MAX_IMAGE_SIZE}"
            )
    for name in ("calibration_fraction", "anomalous_fraction", "mask_cut"):
        if not 0 < getattr(data, name) < 1:
            raise UsageError(f"{name} must lie between 0 and 1, got {getattr(data, name)}")
    if data.tile is not None and data.tile < SMALLEST_TILE:
        raise UsageError(f"tile must be at least {SMALLEST_TILE} pixels of a photograph, got {data.tile}")
    if data.roi is not None:
        parse_rectangle(data.roi)


def _check_model(model: ModelConfig) -> None:
    check_encoder(model.variant, model.encoder, model.stages)
    low, high = model.spectrum
    if not 0 <= low < high <= 1:
        raise UsageError(f"spectrum must be a range within 0 to 1, got {low} to {high}")
    if model.whitening is not None and not 0 <= model.whitening <= 0.5:
        raise UsageError(f"whitening must lie between 0 and 0.5, got {model.whitening}")
    if model.prior == "aggregated" and model.latent == "trained":
        raise UsageError("prior aggregated is for a whitened latent, as in preset recommended")
    if model.map_cell not in (2, 4, 8) or (model.latent == "trained" and model.map_cell != ModelConfig.map_cell):
        raise UsageError(f"map_cell must be 2, 4 or 8, and is for a whitened latent; got {model.map_cell}")
    if min(model.latent_channels, model.decoder_width) < 1:
        raise UsageError("latent_channels and decoder_width must be at least 1")


def _check_classes(model: ModelConfig) -> None:
    """Refuse settings of the classifier that the variant or the latent has no use for."""
    is_joint = model.image_score == "joint"
    has_classes = model.supervision == "w" or (model.supervision == "s" and model.latent == "trained")
    of_classes = "class" in (model.attention, model.image_score)
    of_classes |= model.class_score != "logit" or model.map_gate != "always"
    if (is_joint or of_classes) and not has_classes:
        raise UsageError(
            "attention class, image_score class or joint, class_score and map_gate need a classifier: "
            "expected variant r-w or d-w"
        )
    if model.latent == "trained" and is_joint:
        raise UsageError("image_score joint is for a whitened latent, as in preset recommended")
    if model.latent == "whitened" and (of_classes or model.latent_shape == "vector"):
        raise UsageError(
            "attention class, image_score class, class_score, map_gate and latent_shape vector are for a trained "
            "latent, as in preset paper"
        )
    if model.latent_shape == "vector" and model.attention == "energy":
        raise UsageError("attention energy is for a z that is a map")


def _check_training(config: RunConfig) -> None:
    training, calibration, loss = config.training, config.calibration, config.loss
    counts = (training.epochs, training.steps_per_epoch, training.batch_size)
    if any(count is not None and count < 1 for count in counts):
        raise UsageError("epochs, steps_per_epoch and batch_size must be at least 1")
    if not (math.isfinite(training.learning_rate) and training.learning_rate > 0):
        raise UsageError(f"learning_rate must be above 0, got {training.learning_rate}")
    for rate in (calibration.false_alarm_rate, calibration.mask_false_alarm_rate):
        if not 0 < rate < 1:
            raise UsageError(f"a false alarm rate must lie between 0 and 1, got {rate}")
    for weight in (getattr(loss, item.name) for item in fields(loss) if item.name.endswith("_weight")):
        if weight is not None and not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"loss weights must be finite and not be negative, got {weight}")
    if not 0 <= training.seed < 2**32:
        raise UsageError(f"seed must be a whole number from 0 to {2**32 - 1}, got {training.seed}")
