"""The models: backbone R (ResNet-18, or as configured) or D (DC-GAN), and u, s or w. Where a config meets a module."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from cavga.config.backbones import BACKBONES, DEFAULT_BACKBONE, Stage, encoder_stages
from cavga.config.schema import ModelConfig
from cavga.config.variant import TrainingPlan
from cavga.errors import UsageError
from cavga.model.cavga import AnyClassifier, Cavga, Decoder, Head
from cavga.model.classifiers import Classifier, EndToEndPatchClassifier, EnergyClassifier, GuidedHead, PatchClassifier
from cavga.model.decoder import DcganDecoder, FlattenedDecoder, ResidualDecoder
from cavga.model.dinov2 import Dinov2Encoder
from cavga.model.encoder import DcganEncoder, Encoder, TorchvisionEncoder
from cavga.model.latent import FlattenedHead, LatentHead
from cavga.model.marks_head import MarksHead
from cavga.model.prior import AggregatedPrior


def build(config: ModelConfig, *, image_size: tuple[int, int]) -> Cavga:
    """The model that `config` names, with random weights; `config` must be resolved."""
    if config.plan.is_whitened and _num_kept(config) < 1:
        raise UsageError(f"spectrum {config.spectrum} keeps no direction of the features: expected a wider range")
    model = build_parts(config, image_size=image_size, mu_channels=training_channels(config))
    model.mu_head.requires_grad_(config.train_latent or config.plan is not TrainingPlan.WHITENED_FIRST)
    return model


def training_channels(config: ModelConfig) -> int:
    """Channels of z while it is trained: as configured, or all that whitening keeps."""
    if config.plan is not TrainingPlan.WHITENED_FIRST:
        return config.latent_channels
    return _num_kept(config)


def _num_kept(config: ModelConfig) -> int:
    """Directions that whitening keeps of the features' spectrum."""
    num_features = sum(stage.channels for stage in _stages(config))
    low, high = config.spectrum
    return min(round(high * num_features) - round(low * num_features), config.latent_channels)


def build_parts(
    config: ModelConfig, *, image_size: tuple[int, int], mu_channels: int, encoder: Encoder | None = None
) -> Cavga:
    """As `build`, with the channels of mu given: those of a loaded, whitened head; and an encoder, if there is one."""
    encoder, stages, stride = encoder or _encoder(config), stages_of(config), latent_stride(config)
    map_size = (image_size[0] // stride, image_size[1] // stride)
    return Cavga(
        encoder=encoder,
        stages=stages,
        mu_head=_head(config, mu_channels, map_size),
        logvar_head=_head(config, mu_channels, map_size) if has_logvar(config) else None,
        decoder=_decoder(config, mu_channels, map_size),
        classifier=_classifier(config, mu_channels, map_size),
        attends_to=_attends_to(config),
        attention_scale="mean" if config.attention_scale == "mean" else "sum",
        map_size=map_size,
    )


def add_prior(model: Cavga, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Make room in the model for a fitted prior, if there is one among the tensors to be loaded."""
    if any(name.startswith(prefix) for name in tensors):
        model.prior = AggregatedPrior.shaped_like(tensors, prefix, map_size_of(model))


def add_marks(model: Cavga, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Make room in the model for what marks add, if that is among the tensors to be loaded."""
    model.marks = MarksHead.shaped_like(tensors, prefix)


def read_former_classifier(model: Cavga, tensors: dict[str, Tensor], prefix: str) -> None:
    """Give the model the classifier of patches that r-s and d-s had before decision 0029, if that is to be loaded."""
    if isinstance(model.classifier, GuidedHead) and f"{prefix}layers.2.running_mean" in tensors:
        model.classifier = PatchClassifier(latent_channels=model.mu_head.num_channels)


def map_size_of(model: Cavga) -> tuple[int, int]:
    """Rows and columns of the latent map."""
    rows, columns = model.prior_variance.shape
    return rows, columns


def _head(config: ModelConfig, mu_channels: int, map_size: tuple[int, int]) -> Head:
    channels = [stage.channels for stage in _stages(config)]
    if config.latent_shape == "vector":
        return FlattenedHead(channels=channels, map_size=map_size, latent_channels=mu_channels)
    return LatentHead(
        channels=channels,
        strides=[stage.stride for stage in _stages(config)],
        stride=latent_stride(config),
        latent_channels=mu_channels,
        is_local=config.plan.is_whitened,
        is_log=config.features == "log",
    )


def _decoder(config: ModelConfig, mu_channels: int, map_size: tuple[int, int]) -> Decoder:
    stride, width = latent_stride(config), config.decoder_width
    decoder: ResidualDecoder | DcganDecoder
    if config.backbone == "r":
        decoder = ResidualDecoder(latent_channels=mu_channels, stride=stride, width=width, skip=config.decoder_skip)
    else:
        decoder = DcganDecoder(latent_channels=mu_channels, stride=stride, width=width)
    if config.latent_shape == "vector":
        return FlattenedDecoder(decoder, latent_channels=mu_channels, map_size=map_size)
    return decoder


def _classifier(config: ModelConfig, mu_channels: int, map_size: tuple[int, int]) -> AnyClassifier | None:
    match config.supervision:
        case "u":
            return None
        case "s" if config.plan is TrainingPlan.END_TO_END:
            return EndToEndPatchClassifier(latent_channels=mu_channels)
        case "s":
            return GuidedHead(latent_channels=mu_channels).requires_grad_(False)  # trained apart, once z is fixed
    if config.plan.is_whitened:
        return EnergyClassifier(latent_channels=mu_channels)
    score: Literal["logit", "probability"] = "logit" if config.class_score == "logit" else "probability"
    z_size = (1, 1) if config.latent_shape == "vector" else map_size
    return Classifier(latent_channels=mu_channels, map_size=z_size, class_score=score)


def _attends_to(config: ModelConfig) -> Literal["energy", "latent_sum", "class"]:
    match config.attention:
        case "energy" | "latent_sum" | "class":
            return config.attention
    raise ValueError("the configuration is not resolved: cavga.config.resolve.resolve fills in the attention")


def latent_stride(config: ModelConfig) -> int:
    """Pixels of the image a patch of the latent map stands for."""
    if config.plan.is_whitened:
        return config.map_cell
    return _stages(config)[0].stride


def stages_of(config: ModelConfig) -> tuple[int, ...]:
    """The encoder stages of a resolved configuration."""
    if config.stages is None:
        raise ValueError("the configuration is not resolved: cavga.config.resolve.resolve fills in the stages")
    return config.stages


def has_logvar(config: ModelConfig) -> bool:
    """Whether log var is learnt; a whitened latent has it fixed."""
    return config.plan is not TrainingPlan.WHITENED_FIRST


def _encoder(config: ModelConfig) -> Encoder:
    depth, frozen = stages_of(config)[-1], not config.train_encoder
    if config.backbone == "d":
        return DcganEncoder(depth=depth, frozen=frozen)
    backbone = BACKBONES[config.encoder or DEFAULT_BACKBONE]
    make = Dinov2Encoder if backbone.source == "dinov2" else TorchvisionEncoder
    return make(backbone, depth=depth, frozen=frozen)


def _stages(config: ModelConfig) -> list[Stage]:
    """The stages that feed the latent."""
    known = encoder_stages(config.backbone, config.encoder)
    return [known[number] for number in stages_of(config)]
