"""The two presets, and how a configuration is made from one of them."""

from dataclasses import fields, replace
from typing import Any

from cavga.config.fields import convert
from cavga.config.resolve import resolve
from cavga.config.schema import (
    EARLIER,
    PUBLISHED_SIZE,
    SECTIONS,
    CalibrationConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
)
from cavga.errors import unknown_name

# What the text leaves open and readers recall of the supplementary (low trust): Adam at 1e-4, 150 epochs,
# batches of 16, flips and rotations, 256 px, z of 8 x 8 x 512. Sums, and a rate along one cycle: docs/decisions/0026.
PAPER = RunConfig(
    preset="paper",
    data=DataConfig(image_size=PUBLISHED_SIZE, augment=True),
    model=ModelConfig(
        variant="r-u",
        stages=(4,),
        features="linear",
        train_encoder=True,
        latent="trained",
        prior="standard",
        latent_channels=512,
        decoder_width=64,
        attention_scale="mean",
    ),
    loss=LossConfig(
        reduction="sums",
        kl_weight=1.0,
        adversarial_weight=1.0,
        classification_weight=0.001,
        class_balance="plain",
    ),
    training=TrainingConfig(epochs=150, learning_rate=1e-4, schedule="one_cycle"),
    calibration=CalibrationConfig(threshold_rule="fixed"),
)
# `cavga pretrain`: Celeb-A's DC-GAN takes 64 px; Adam at 2e-4 and batches of 128 are DC-GAN's (docs/decisions/0018).
PRETRAINING: dict[str, dict[str, Any]] = {
    "data": {"image_size": (64, 64), "augment": False},
    "model": {"variant": "d-u", "weights": "none"},
    "loss": {"attention_weight": 0.0, "reduction": "means"},
    "training": {"epochs": 5, "batch_size": 128, "learning_rate": 2e-4, "schedule": "constant"},
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


def from_dict(content: dict[str, Any]) -> RunConfig:
    """The inverse of `as_dict`, of runs of earlier versions too."""
    sections = {name: {**EARLIER.get(name, {}), **content[name]} for name in SECTIONS}
    return make_config(content["preset"], sections)
