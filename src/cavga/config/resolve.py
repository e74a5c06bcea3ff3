"""What is left open in a configuration, filled in from its other settings: encoder, stages, latent, prior, scores."""

from dataclasses import replace

from cavga.config.backbones import DEFAULT_BACKBONE, encoder_stages
from cavga.config.schema import LossConfig, ModelConfig, RunConfig
from cavga.config.variant import TrainingPlan
from cavga.errors import UsageError

ADVERSARIAL_WEIGHT = 0.01
END_TO_END_STRIDE = 4  # of the stage that is trained on synthetic anomalies


def resolve(config: RunConfig) -> RunConfig:
    """Fill in what depends on other settings: encoder, weights and features; attention and the score; epochs."""
    model = _resolve_scores(_resolve_features(config.model))
    loss = config.loss
    if loss.adversarial_weight is None:
        loss = replace(loss, adversarial_weight=0.0 if model.plan is TrainingPlan.END_TO_END else ADVERSARIAL_WEIGHT)
    _check_gan_weights(model, loss)
    # Only the decoder is trained where the features are given and mu is set by whitening.
    is_fixed = model.plan is TrainingPlan.WHITENED_FIRST and not model.train_latent
    training = replace(config.training, epochs=config.training.epochs or (1 if is_fixed else 10))
    return replace(config, model=model, loss=loss, training=training)


def takes_gan_weights(model: ModelConfig, loss: LossConfig) -> bool:
    """Whether resolved settings train a part that GAN weights can set: a discriminator, or D's encoder and decoder."""
    return model.plan is not TrainingPlan.END_TO_END and (model.backbone == "d" or loss.adversarial_weight != 0)


def _check_gan_weights(model: ModelConfig, loss: LossConfig) -> None:
    if model.gan_weights is None:
        return
    if not takes_gan_weights(model, loss):
        raise UsageError(f"gan_weights: {model.variant} with these settings is trained without a discriminator")
    if model.backbone == "d" and model.weights != "none":
        raise UsageError(f"weights and gan_weights both set the encoder of {model.variant}: leave one of them out")


def _resolve_features(model: ModelConfig) -> ModelConfig:
    """The encoder, what of it feeds the latent, the latent and its prior."""
    is_r = model.backbone == "r"
    weights = model.weights or ("imagenet" if is_r else "none")
    has_weights = weights != "none"
    train_encoder = not has_weights if model.train_encoder is None else model.train_encoder
    learns_from_synthetic = model.supervision == "s" and train_encoder and not has_weights
    latent = model.latent or ("trained" if learns_from_synthetic else "whitened")
    model = replace(
        model,
        encoder=(model.encoder or DEFAULT_BACKBONE) if is_r else None,
        weights=weights,
        train_encoder=train_encoder,
        latent=latent,
    )
    model = replace(
        model,
        stages=_default_stages(model, has_weights=has_weights) if model.stages is None else model.stages,
        features=model.features or ("linear" if has_weights or model.plan is TrainingPlan.END_TO_END else "log"),
    )
    prior = model.prior or _default_prior(model, has_weights=has_weights)
    whitening = (0.25 if prior == "aggregated" else 0.5) if model.whitening is None else model.whitening
    return replace(model, prior=prior, whitening=whitening)


def _resolve_scores(model: ModelConfig) -> ModelConfig:
    """What attention explains, and the image's score."""
    is_end_to_end, is_weak = model.plan is TrainingPlan.END_TO_END, model.supervision == "w"
    explained = "energy" if model.plan.is_whitened else "class" if is_weak or is_end_to_end else "latent_sum"
    attention = model.attention or explained
    # Beside an aggregated prior's energy C's score is noise (docs/decisions/0022).
    joint_or_map = "joint" if is_weak and model.prior != "aggregated" else "map"
    of_classes = "map" if is_end_to_end else "class"
    scores = {"energy": joint_or_map, "latent_sum": "residual", "class": of_classes}
    return replace(model, attention=attention, image_score=model.image_score or scores[attention])


def _default_stages(model: ModelConfig, *, has_weights: bool) -> tuple[int, ...]:
    if has_weights:
        return (1, 2, 3)
    known = encoder_stages(model.backbone, model.encoder)
    if model.plan is TrainingPlan.END_TO_END:  # docs/decisions/0014
        return tuple(number for number, stage in known.items() if stage.stride == END_TO_END_STRIDE)
    # What is learnt from a few images alone is best read early and on a log scale (docs/decisions/0005).
    return tuple(stage for stage in (0, 1) if stage in known)


def _default_prior(model: ModelConfig, *, has_weights: bool) -> str:
    """Neighbours in what was learnt from a few images alone say little (docs/decisions/0011)."""
    if not model.plan.is_whitened:
        return "standard"
    return "aggregated" if has_weights else "by_position"
