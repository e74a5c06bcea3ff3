"""What encoder, decoder and classifier minimise on one batch: Eq. 4, Eq. 6, or Eq. 6 where the place is known.

Each adds its own terms to `terms`, which hold those of the VAE and of the game already.
"""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from cavga.config.schema import LossConfig
from cavga.losses import (
    attention_expansion_loss,
    classification_loss,
    complementary_guided_attention_loss,
    region_guided_attention_loss,
    unsupervised_objective,
    vae_loss,
    weakly_supervised_objective,
)
from cavga.model.cavga import Cavga, CavgaOutput
from cavga.model.classifiers import EndToEndPatchClassifier, image_logits
from cavga.shapes import ClassLogits, Labels, Scalar, ScoreMap


class Objective(NamedTuple):
    """The total, mean A of each normal image, and the logits of the classes if there are any."""

    total: Scalar
    coverage: Tensor
    class_logits: ClassLogits | None


def reduced_vae_loss(output: CavgaOutput, terms: dict[str, Tensor], weights: LossConfig) -> Scalar:
    """Eq. 1 of terms that are means; with `reduction` "sums" of what they are means of, a sum of each image."""
    num_values = num_latents = 1
    if weights.reduction == "sums":
        num_values, num_latents = output.reconstruction_logits[0].numel(), output.latent.mu[0].numel()
    reconstruction, kl = num_values * terms["reconstruction"], num_latents * terms["kl"]
    return vae_loss(reconstruction, kl, kl_weight=weights.kl_weight)


def unsupervised(model: Cavga, output: CavgaOutput, terms: dict[str, Tensor], weights: LossConfig) -> Objective:
    """Eq. 4; adds L_ae."""
    attention = model.attention(output.latent)
    terms["attention_expansion"] = attention_expansion_loss(attention)
    total = unsupervised_objective(
        vae=reduced_vae_loss(output, terms, weights),
        generator=terms["generator"],
        attention=terms["attention_expansion"],
        vae_weight=weights.vae_weight,
        adversarial_weight=weights.adversarial_weight or 0.0,
        attention_weight=weights.attention_weight,
    )
    return Objective(total, attention.mean(dim=(1, 2)), None)


def weakly_supervised(
    model: Cavga,
    output: CavgaOutput,
    labels: Labels,
    terms: dict[str, Tensor],
    weights: LossConfig,
    class_weights: tuple[float, float],
) -> Objective:
    """Eq. 6; adds L_bce and L_cga."""
    class_logits = output.class_logits
    assert class_logits is not None
    maps = model.class_attention(output.latent, output.z)
    terms["classification"] = classification_loss(class_logits, labels, class_weights=class_weights)
    terms["guided_attention"] = complementary_guided_attention_loss(maps[:, 0], maps[:, 1], class_logits, labels)
    total = _eq_6(output, terms, weights, guided_attention_weight=weights.guided_attention_weight)
    return Objective(total, maps[labels == 0, 0].mean(dim=(1, 2)), class_logits)


def self_supervised(
    model: Cavga,
    output: CavgaOutput,
    labels: Labels,
    regions: ScoreMap,
    terms: dict[str, Tensor],
    weights: LossConfig,
) -> Objective:
    """Eq. 6 with L_cga of every patch, whose share of a synthetic anomaly is known; `regions`: that of every pixel."""
    classifier = model.classifier
    assert isinstance(classifier, EndToEndPatchClassifier)
    cam = classifier.cam(output.z)
    class_logits = image_logits(cam)
    patches = functional.adaptive_avg_pool2d(regions[:, None], (cam.shape[1], cam.shape[2]))[:, 0]
    terms["classification"] = classification_loss(class_logits, labels)
    terms["guided_attention"] = region_guided_attention_loss(cam, patches)
    total = _eq_6(output, terms, weights, guided_attention_weight=weights.region_weight)
    normal_attention = 1 - cam.sigmoid()
    return Objective(total, normal_attention[labels == 0].mean(dim=(1, 2)), class_logits)


def _eq_6(
    output: CavgaOutput, terms: dict[str, Tensor], weights: LossConfig, *, guided_attention_weight: float
) -> Scalar:
    return weakly_supervised_objective(
        vae=reduced_vae_loss(output, terms, weights),
        generator=terms["generator"],
        classification=terms["classification"],
        guided_attention=terms["guided_attention"],
        vae_weight=weights.vae_weight,
        adversarial_weight=weights.adversarial_weight or 0.0,
        classification_weight=weights.classification_weight,
        guided_attention_weight=guided_attention_weight,
    )
