"""CAVGA as the paper draws it: encoder, convolutional latent q(z|x), decoder, and in the w variants a classifier."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cavga.attention import (
    class_cams,
    energy_attention,
    flattened_cams,
    latent_sum_cam,
    normality_cam,
    probability_cams,
    sigmoid_attention,
)
from cavga.model.classifiers import Classifier, EndToEndPatchClassifier, EnergyClassifier, GuidedHead, PatchClassifier
from cavga.model.decoder import DcganDecoder, FlattenedDecoder, ResidualDecoder
from cavga.model.encoder import Encoder
from cavga.model.latent import FlattenedHead, LatentHead
from cavga.model.marks_head import MarksHead
from cavga.model.prior import AggregatedPrior, Energies, smoothed
from cavga.shapes import (
    AttentionMap,
    ClassAttention,
    ClassLogits,
    FlattenedFeatures,
    Images,
    LatentMap,
    PositionMap,
    ScoreMap,
    Scores,
)

Head = LatentHead | FlattenedHead
AnyClassifier = Classifier | EnergyClassifier | GuidedHead | PatchClassifier | EndToEndPatchClassifier
Decoder = ResidualDecoder | DcganDecoder | FlattenedDecoder


@dataclass(frozen=True)
class Latent:
    """q(z|x) = N(mu, exp(logvar)) of a batch; `features` only where z is flattened: what it was computed from."""

    mu: LatentMap
    logvar: LatentMap
    features: FlattenedFeatures | None


@dataclass(frozen=True)
class Energy:
    """How far z is from the prior: at each patch, and of each image if the prior is of whole images too."""

    patches: ScoreMap
    score: Scores | None


@dataclass(frozen=True)
class CavgaOutput:
    """One forward pass of a batch; `class_logits` is None without a classifier."""

    latent: Latent
    z: LatentMap
    class_logits: ClassLogits | None
    reconstruction_logits: Images


class Cavga(nn.Module):
    """q(z|x) = N(mu, exp(logvar)) on a map, the decoder of z, and the classifier C of z.

    `logvar_head` None means a fixed log variance: nothing can then trade the latent's signal for a
    smaller KL. `attends_to` names the score that attention explains: "latent_sum" is the sum of mu,
    "energy" the normality score -KL(q(z|x) || prior), "class" that of C's classes. `attention_scale` "mean" takes the
    map of "latent_sum" as a mean over the features' channels (docs/decisions/0026). `prior_variance`
    scales the prior N(0, s_ij I) by position; 1 is the paper's N(0, I). `prior`, once it is fitted, takes
    that prior's place (cavga.training.fit_prior).
    """

    prior_variance: Tensor
    fixed_logvar: Tensor
    prior: AggregatedPrior | None
    marks: MarksHead | None
    """What marked photographs add to the score (`cavga refit`)."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        stages: tuple[int, ...],
        mu_head: Head,
        logvar_head: Head | None,
        decoder: Decoder,
        classifier: AnyClassifier | None,
        attends_to: Literal["energy", "latent_sum", "class"],
        attention_scale: Literal["sum", "mean"],
        map_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.attends_to, self.attention_scale = attends_to, attention_scale
        self.encoder, self.stages = encoder, stages
        self.mu_head, self.logvar_head, self.decoder = mu_head, logvar_head, decoder
        self.classifier, self.prior, self.marks = classifier, None, None
        self.register_buffer("prior_variance", torch.ones(map_size))
        # Whitened mu has a standard deviation of 1 a channel; noise of a tenth of it blurs no map and is
        # enough for the decoder to be trained on samples.
        self.register_buffer("fixed_logvar", torch.tensor(-4.6), persistent=False)

    def train(self, mode: bool = True) -> "Cavga":
        """Like nn.Module.train, but batch norm that was imported or is frozen stays in eval mode.

        Statistics of small batches would replace those its weights were trained with. Nothing else in
        the encoders depends on the mode.
        """
        super().train(mode)
        if self.encoder.has_fixed_norm:
            self.encoder.eval()
        return self

    def encode_stages(self, images: Images) -> list[Tensor]:
        """The feature maps that feed the latent."""
        maps = self.encoder(images)
        return [maps[stage] for stage in self.stages]

    def encode(self, images: Images) -> Latent:
        """The mean mu and the log variance of q(z|x)."""
        return self.latent_of(self.encode_stages(images))

    def latent_of(self, stages: list[Tensor]) -> Latent:
        """As `encode`, of the feature maps that `encode_stages` gave, of this model's encoder or of one like it."""
        features = None
        if isinstance(self.mu_head, FlattenedHead):
            features = self.mu_head.merged(stages)
            mu = self.mu_head.flatten(features)
        else:
            mu = self.mu_head(stages)
        logvar = self.fixed_logvar.expand_as(mu) if self.logvar_head is None else self.logvar_head(stages)
        return Latent(mu, logvar, features)

    def forward(self, images: Images, generator: torch.Generator | None = None) -> CavgaOutput:
        """Encode, sample z = mu + exp(logvar / 2) noise with noise from `generator`, classify, decode."""
        latent = self.encode(images)
        mu = latent.mu
        noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        z = mu + (0.5 * latent.logvar).exp() * noise
        # The classifier of a whitened latent is fitted once that is fixed: see cavga.training.fit_classifier.
        class_logits = self.classifier(z) if isinstance(self.classifier, Classifier) else None
        return CavgaOutput(latent, z, class_logits, self.decoder(z))

    def attention(self, latent: Latent) -> AttentionMap:
        """A in [0, 1] of normality: Grad-CAM of the score that the model attends to, in closed form."""
        if self.attends_to == "class":
            return self.class_attention(latent, latent.mu)[:, 0]
        if self.attends_to == "energy" and self.prior is not None:
            return self.prior.attention(latent.mu)
        if self.attends_to == "energy":
            return energy_attention(normality_cam(latent.mu, self.prior_variance), latent.mu.shape[1])
        if isinstance(self.mu_head, FlattenedHead):
            all_units = torch.ones(1, self.mu_head.num_channels, device=latent.mu.device, dtype=latent.mu.dtype)
            cam = flattened_cams(_features(latent), self.mu_head.weight, all_units)[:, 0]
        else:
            cam = latent_sum_cam(latent.mu, self.mu_head.bias)
        num_channels = sum(self.encoder.stage_channels[stage] for stage in self.stages)
        return sigmoid_attention(cam / num_channels if self.attention_scale == "mean" else cam)

    def class_attention(self, latent: Latent, z: LatentMap) -> ClassAttention:
        """A^cn and A^ca in [0, 1]: Grad-CAM at z of each class's score; at the features if z is flattened.

        The paper classifies and explains z itself: a sample in training, mu at test.
        """
        classifier = self.classifier
        if classifier is None:
            raise ValueError("this model has no classifier: only the s and w variants have one")
        if isinstance(classifier, GuidedHead | PatchClassifier | EndToEndPatchClassifier):
            anomalous = classifier.cam(z).sigmoid()
            return torch.stack([1 - anomalous, anomalous], dim=1)
        if isinstance(classifier, EnergyClassifier):
            anomalous = classifier.anomalous_attention(self.energy(z).patches, self.energies(z))
            return torch.stack([1 - anomalous, anomalous], dim=1)
        if isinstance(self.mu_head, FlattenedHead):
            # Through mu alone: the noise that was added to it does not depend on the features.
            cams = flattened_cams(_features(latent), self.mu_head.weight, classifier.linear.weight)
        else:
            cams = class_cams(z, classifier.weight_maps)
        if classifier.class_score == "probability":
            cams = probability_cams(cams, classifier(z))
        return cams.sigmoid()

    def anomaly_map(self, latent: Latent | None, energy: Energy | None = None) -> ScoreMap:
        """What is anomalous: the energy, unbounded, for "energy"; 1 - A for "latent_sum"; A^ca for "class".

        `energy` is that of latent.mu, for a caller who needs it too: it is the dearest part of a prediction. With it
        a model without a classifier needs no latent.
        """
        if self.attends_to == "energy" and self.classifier is None and energy is not None:
            return energy.patches
        assert latent is not None
        match self.attends_to:
            case "latent_sum":
                return 1 - self.attention(latent)
            case "class" if isinstance(self.classifier, EndToEndPatchClassifier):
                return smoothed(self.classifier.cam(latent.mu))  # A^ca before its sigmoid, which saturates
            case "class":
                # Paper: the map of the anomalous class is used as it is, not inverted.
                return self.class_attention(latent, latent.mu)[:, 1]
            case "energy":
                return self._energy_map(latent.mu, (energy or self.energy(latent.mu)).patches)

    def _energy_map(self, mu: LatentMap, patches: ScoreMap) -> ScoreMap:
        """The energy of every patch, and what a classifier adds to it."""
        match self.classifier:
            case EnergyClassifier():
                return self.classifier.anomaly_map(patches, self.energies(mu))
            case GuidedHead() | PatchClassifier():
                return self.classifier.anomaly_map(patches, mu)
            case _:
                return patches

    def energy(self, mu: LatentMap) -> Energy:
        """How far z is from the prior, and what marks add to that."""
        if self.prior is None:
            return Energy(-normality_cam(mu, self.prior_variance) / mu.shape[1], None)
        return self.energy_of(self.prior.energies(mu), mu)

    def energy_of(self, energies: Energies, mu: LatentMap | None = None) -> Energy:
        """As `energy`, from what an aggregated prior measured, this one or one that was fitted to other images.

        Only a model without marks can do without `mu`.
        """
        if self.prior is None:
            raise ValueError("this model has no aggregated prior")
        patches, score = self.prior.joined(energies)
        if self.marks is not None:
            assert mu is not None
            score = self.marks(score, mu, self.prior.local_deviations(energies))
        return Energy(patches, score)

    def energies(self, mu: LatentMap) -> LatentMap:
        """Each mu_k^2 in units of the mean at its position: what the classifier of a whitened latent reads."""
        return mu.square() / self.prior_variance

    def set_prior_variance(self, variance: PositionMap) -> None:
        self.prior_variance.copy_(variance)


def _features(latent: Latent) -> FlattenedFeatures:
    assert latent.features is not None
    return latent.features
