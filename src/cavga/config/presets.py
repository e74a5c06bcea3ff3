"""The two presets, and how a configuration is made from one of them."""

from dataclasses import fields, replace
from typing import Any

from cavga.config.backbones import DEFAULT_NETWORK, encoder_stages
from cavga.config.fields import convert
from cavga.config.schema import (
    SECTIONS,
    CalibrationConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    is_self_supervised,
    is_trained_on_made,
    is_weakly_supervised,
)
from cavga.errors import UsageError, unknown_name

# What the text leaves open and readers recall of the supplementary (low trust): Adam at 1e-4, divided
# by ten every 30 epochs, 150 epochs, batches of 16, flips and rotations, 256 px, z of 8 x 8 x 512.
PAPER = RunConfig(
    preset="paper",
    data=DataConfig(augment=True),
    model=ModelConfig(
        variant="r-u",
        stages=(4,),
        features="linear",
        train_encoder=True,
        latent="trained",
        prior="standard",
        latent_channels=512,
        decoder_width=64,
    ),
    loss=LossConfig(kl_weight=1.0, adversarial_weight=1.0, classification_weight=0.001, class_balance="plain"),
    training=TrainingConfig(epochs=150, learning_rate=1e-4),
    calibration=CalibrationConfig(threshold_rule="fixed"),
)
ADVERSARIAL_WEIGHT = 0.01
MADE_STRIDE = 4  # of the stage that is trained on made anomalies
# `cavga pretrain`: Celeb-A's DC-GAN takes 64 px; Adam at 2e-4 and batches of 128 are DC-GAN's (docs/decisions/0018).
PRETRAINING: dict[str, dict[str, Any]] = {
    "data": {"image_size": (64, 64), "augment": False},
    "model": {"variant": "d-u", "weights": "none"},
    "loss": {"attention_weight": 0.0},
    "training": {"epochs": 5, "batch_size": 128, "learning_rate": 2e-4},
}
PRESETS = {"recommended": RunConfig(), "paper": PAPER}


def make_config(preset: str, *overrides: dict[str, dict[str, Any]]) -> RunConfig:
    """A preset with overrides, each {section: {field: value}}, the last one winning."""
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    sections: dict[str, Any] = {name: getattr(PRESETS[preset], name) for name in SECTIONS}
    for override in overrides:
        for name, values in override.items():
            if name not in sections:
                raise unknown_name("section", name, sections)
            for key in values:
                if key not in {item.name for item in fields(sections[name])}:
                    raise unknown_name(f"setting in [{name}]", key, [item.name for item in fields(sections[name])])
            part = type(sections[name])
            sections[name] = replace(sections[name], **{k: convert(part, k, value) for k, value in values.items()})
    return resolve(RunConfig(preset=preset, **sections))


def resolve(config: RunConfig) -> RunConfig:
    """Fill in what depends on other settings: encoder, weights and features; attention and the score; epochs."""
    model = _resolve_scores(_resolve_features(config.model))
    loss = config.loss
    if loss.adversarial_weight is None:
        loss = replace(loss, adversarial_weight=0.0 if is_trained_on_made(model) else ADVERSARIAL_WEIGHT)
    _check_gan_weights(model, loss)
    # Only the decoder is trained where the features are given and mu is set by whitening.
    is_fixed = model.latent == "whitened" and not model.train_encoder and not model.train_latent
    training = replace(config.training, epochs=config.training.epochs or (1 if is_fixed else 10))
    return replace(config, model=model, loss=loss, training=training)


def takes_gan_weights(model: ModelConfig, loss: LossConfig) -> bool:
    """Whether resolved settings train a part that GAN weights can set: a discriminator, or D's encoder and decoder."""
    return not is_trained_on_made(model) and (model.variant.startswith("d") or loss.adversarial_weight != 0)


def _check_gan_weights(model: ModelConfig, loss: LossConfig) -> None:
    if model.gan_weights is None:
        return
    if not takes_gan_weights(model, loss):
        raise UsageError(f"gan_weights: {model.variant} with these settings is trained without a discriminator")
    if model.variant.startswith("d") and model.weights != "none":
        raise UsageError(f"weights and gan_weights both set the encoder of {model.variant}: leave one of them out")


def _resolve_features(model: ModelConfig) -> ModelConfig:
    """The encoder, what of it feeds the latent, the latent and its prior."""
    is_r = model.variant.startswith("r")
    weights = model.weights or ("imagenet" if is_r else "none")
    has_weights = weights != "none"
    train_encoder = not has_weights if model.train_encoder is None else model.train_encoder
    learns_from_made = is_self_supervised(model) and train_encoder and not has_weights
    latent = model.latent or ("trained" if learns_from_made else "whitened")
    model = replace(
        model,
        encoder=(model.encoder or DEFAULT_NETWORK) if is_r else None,
        weights=weights,
        train_encoder=train_encoder,
        latent=latent,
    )
    model = replace(
        model,
        stages=_default_stages(model, has_weights=has_weights) if model.stages is None else model.stages,
        features=model.features or ("linear" if has_weights or is_trained_on_made(model) else "log"),
    )
    prior = model.prior or _default_prior(model, has_weights=has_weights)
    whitening = (0.25 if prior == "aggregated" else 0.5) if model.whitening is None else model.whitening
    return replace(model, prior=prior, whitening=whitening)


def _resolve_scores(model: ModelConfig) -> ModelConfig:
    """What attention explains, and the image's score."""
    has_classes = is_weakly_supervised(model) or is_trained_on_made(model)
    explained = "energy" if model.latent == "whitened" else "class" if has_classes else "latent_sum"
    attention = model.attention or explained
    # Beside an aggregated prior's energy C's score is noise (docs/decisions/0022).
    joint_or_map = "joint" if is_weakly_supervised(model) and model.prior != "aggregated" else "map"
    of_classes = "map" if is_trained_on_made(model) else "class"
    scores = {"energy": joint_or_map, "latent_sum": "residual", "class": of_classes}
    return replace(model, attention=attention, image_score=model.image_score or scores[attention])


def _default_stages(model: ModelConfig, *, has_weights: bool) -> tuple[int, ...]:
    if has_weights:
        return (1, 2, 3)
    known = encoder_stages(model.variant, model.encoder)
    if is_trained_on_made(model):  # docs/decisions/0014
        return tuple(number for number, stage in known.items() if stage.stride == MADE_STRIDE)
    # What is learnt from a few images alone is best read early and on a log scale (docs/decisions/0005).
    return tuple(stage for stage in (0, 1) if stage in known)


def _default_prior(model: ModelConfig, *, has_weights: bool) -> str:
    """Neighbours in what was learnt from a few images alone say little (docs/decisions/0011)."""
    if model.latent == "trained":
        return "standard"
    return "aggregated" if has_weights else "by_position"


def from_dict(content: dict[str, Any]) -> RunConfig:
    """The inverse of `as_dict`."""
    sections = {name: content[name] for name in SECTIONS}
    return make_config(content["preset"], sections)
