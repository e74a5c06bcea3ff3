"""The training objective: one function per equation, in the paper's order (arXiv:1911.08616v4).

Every loss is a mean, over pixels and latents as over images: with sums, L_ae at the paper's weight
of 0.01 would be a ten-millionth of the objective (docs/decisions/0001). Preset `paper` makes sums of L_R and KL, as
L_R is printed, where it adds the losses up (cavga.training.objectives, docs/decisions/0026).
"""

import torch
from torch.nn import functional

from cavga.shapes import (
    AttentionMap,
    ClassLogits,
    Images,
    Labels,
    LatentMap,
    Logits,
    PatchFlags,
    PatchScores,
    Scalar,
    ScoreMap,
)

SMALLEST_HALF_ENERGY = 1e-6  # below it A is 1 in float32, and the logarithm of 1 - A has no end


def reconstruction_loss(reconstruction_logits: Images, images: Images) -> Scalar:
    """L_R of Eq. 1: binary cross-entropy of the reconstruction against pixels in [0, 1], mean per value.

    Takes the decoder's logits, before its sigmoid, because that is exact where the sigmoid saturates.
    """
    return functional.binary_cross_entropy_with_logits(reconstruction_logits, images)


def kl_divergence(mu: LatentMap, logvar: LatentMap) -> Scalar:
    """KL(q(z|x) || N(0, I)) of Eq. 1, mean per latent value."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean()


def vae_loss(reconstruction: Scalar, kl: Scalar, *, kl_weight: float = 1.0) -> Scalar:
    """Eq. 1 from its two terms: L = L_R + KL; the paper's weight of KL is 1."""
    return reconstruction + kl_weight * kl


def discriminator_loss(real_logits: Logits, fake_logits: Logits) -> Scalar:
    """Eq. 2 as D minimises it: -log D(x) - log(1 - D(x_hat)), mean over the images."""
    real = functional.softplus(-real_logits).mean()
    fake = functional.softplus(fake_logits).mean()
    return real + fake


def generator_loss(fake_logits: Logits) -> Scalar:
    """Eq. 2 as encoder and decoder minimise it: the non-saturating -log D(x_hat).

    Paper: prints one expression for both players; minimised by both, the decoder would help D
    (docs/decisions/0002).
    """
    return functional.softplus(-fake_logits).mean()


def attention_expansion_loss(attention: AttentionMap) -> Scalar:
    """Eq. 3, L_ae: the share of normal images that attention leaves uncovered; 0 when it covers all.

    Works on any map in [0, 1], whatever network it comes from: see `cavga.attention.attention_of`.
    """
    return (1 - attention).mean()


def unsupervised_objective(
    *,
    vae: Scalar,
    generator: Scalar,
    attention: Scalar,
    vae_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    attention_weight: float = 0.01,
) -> Scalar:
    """Eq. 4: w_r L + w_adv L_adv + w_ae L_ae, by default with the paper's weights."""
    total = vae_weight * vae + adversarial_weight * generator + attention_weight * attention
    return torch.as_tensor(total)


def classification_loss(
    class_logits: ClassLogits, labels: Labels, *, class_weights: tuple[float, float] = (1.0, 1.0)
) -> Scalar:
    """L_bce of Eq. 6: cross-entropy of the two classes against `labels` (0 normal, 1 anomalous), mean over the images.

    `class_weights` multiplies the normal and the anomalous images' terms; (1, 1) is the paper's.
    """
    each = functional.cross_entropy(class_logits, labels, reduction="none")
    return (each * each.new_tensor(class_weights)[labels]).mean()


def complementary_guided_attention_loss(
    normal_attention: AttentionMap, anomalous_attention: AttentionMap, class_logits: ClassLogits, labels: Labels
) -> Scalar:
    """Eq. 5, L_cga: on normal images that C calls normal, A^cn should cover all and A^ca nothing.

    Both maps lie in [0, 1]. The sum is divided by the number N of images in the batch, not by the
    number that the indicator 1(p = y = c_n) selects.
    """
    is_selected = (labels == 0) & (class_logits.argmax(dim=1) == 0)
    each = (1 - normal_attention + anomalous_attention).mean(dim=(1, 2))
    return (each * is_selected).sum() / len(labels)


def weakly_supervised_objective(
    *,
    vae: Scalar,
    generator: Scalar,
    classification: Scalar,
    guided_attention: Scalar,
    vae_weight: float = 1.0,
    adversarial_weight: float = 1.0,
    classification_weight: float = 0.001,
    guided_attention_weight: float = 0.01,
) -> Scalar:
    """Eq. 6: w_r L + w_adv L_adv + w_c L_bce + w_cga L_cga, by default with the paper's weights."""
    total = vae_weight * vae + adversarial_weight * generator
    total = total + classification_weight * classification + guided_attention_weight * guided_attention
    return torch.as_tensor(total)


def region_guided_attention_loss(logits: ScoreMap, labels: ScoreMap) -> Scalar:
    """L_cga where the place of an anomaly is known: A^ca is to be the synthetic region, A^cn = 1 - A^ca the rest.

    Cross-entropy of every patch with the share of it that is anomalous, weighted by how far A^ca is from that
    (the quality focal loss of Li et al. 2020 with exponent 1), so that the many easy patches do not outweigh it.
    """
    distance = (labels - logits.sigmoid()).abs().detach()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return 10 * (distance * cross_entropy).mean()


def attention_bound_loss(attention: PatchScores, is_normal: PatchFlags, *, least: float) -> Scalar:
    """L_ae of Eq. 3 as a bound: what the mean of A over the normal patches of an image lacks of `least`.

    L_ae itself has its minimum where A is 1 everywhere, on anomalies too; from `least` on this one asks for no more
    (the inequality of Silva-Rodriguez et al., MedIA 2022).
    """
    covered = (attention * is_normal).sum(dim=1) / is_normal.sum(dim=1).clamp_min(1)
    return (least - covered).clamp_min(0).mean()


def attention_shrinking_loss(energy: PatchScores, shares: PatchScores) -> Scalar:
    """The complement of L_ae, as A^ca in Eq. 5, where the place is known: -log(1 - A) of anomalous patches.

    A = exp(-energy / 2), and `shares` are in [0, 1]: how much of a patch is anomalous. Each counts by how high A still
    is (the focal loss of Lin et al. 2017 with exponent 1).
    """
    half = (energy / 2).clamp_min(SMALLEST_HALF_ENERGY)
    each = (-half).exp().detach() * shares * -torch.log(-torch.expm1(-half))
    return each.sum() / shares.sum().clamp_min(1)
