"""The models: backbone R (ResNet-18) or D (DC-GAN). The one place where a config meets a module."""

from cavga.config import ModelConfig
from cavga.model.cavga import Cavga
from cavga.model.decoder import DcganDecoder, ResidualDecoder
from cavga.model.encoder import DcganEncoder, Encoder, ResNet18Encoder
from cavga.model.latent import LatentHead

# Pixels a cell of the latent map when several stages feed it (docs/decisions/0004).
MERGED_STRIDE = 8


def build(config: ModelConfig, *, image_size: tuple[int, int]) -> Cavga:
    """The model that `config` names, with random weights; `config` must be resolved."""
    model = build_parts(config, image_size=image_size, mu_channels=training_channels(config))
    model.mu_head.requires_grad_(config.train_latent or not is_whitened_first(config))
    return model


def is_whitened_first(config: ModelConfig) -> bool:
    """Whether mu is set before training: the features of a frozen encoder are there from the start."""
    return config.latent == "whitened" and not config.train_encoder


def training_channels(config: ModelConfig) -> int:
    """Channels of z while it is trained: as configured, or all that whitening keeps."""
    if not is_whitened_first(config):
        return config.latent_channels
    num_features = sum(_encoder_type(config).stage_channels[stage - 1] for stage in config.stages)
    low, high = config.spectrum
    return round(high * num_features) - round(low * num_features)


def build_parts(config: ModelConfig, *, image_size: tuple[int, int], mu_channels: int) -> Cavga:
    """As `build`, with the channels of mu given: those of a loaded, whitened head."""
    encoder = _encoder(config)
    stride = latent_stride(config)
    head = {
        "channels": [encoder.stage_channels[s - 1] for s in config.stages],
        "strides": [encoder.stage_strides[s - 1] for s in config.stages],
    }
    decoder_type = ResidualDecoder if config.variant.startswith("r") else DcganDecoder
    return Cavga(
        encoder=encoder,
        stages=config.stages,
        mu_head=LatentHead(**head, stride=stride, latent_channels=mu_channels),
        logvar_head=LatentHead(**head, stride=stride, latent_channels=mu_channels) if has_logvar(config) else None,
        decoder=decoder_type(latent_channels=mu_channels, stride=stride, width=config.decoder_width),
        attends_to="energy" if config.attention == "energy" else "latent_sum",
        map_size=(image_size[0] // stride, image_size[1] // stride),
    )


def latent_stride(config: ModelConfig) -> int:
    """Pixels of the image a cell of the latent map stands for."""
    strides = _encoder_type(config).stage_strides
    return MERGED_STRIDE if len(config.stages) > 1 else strides[config.stages[0] - 1]


def has_logvar(config: ModelConfig) -> bool:
    """Whether log var is learnt; a whitened latent has it fixed."""
    return not is_whitened_first(config)


def _encoder(config: ModelConfig) -> Encoder:
    return _encoder_type(config)(depth=config.stages[-1], frozen=not config.train_encoder)


def _encoder_type(config: ModelConfig) -> type[ResNet18Encoder] | type[DcganEncoder]:
    return ResNet18Encoder if config.variant.startswith("r") else DcganEncoder
