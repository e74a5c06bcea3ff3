"""The one truth of inference: photographs -> score, anomaly map and mask, without a backward pass.

Evaluation, prediction and calibration all go through `InferenceGraph`; what is measured is what is deployed.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cavga.config.schema import RunConfig
from cavga.images.torch_resize import as_images, resize
from cavga.model.cavga import Cavga, Energy, Latent
from cavga.model.classifiers import Classifier, EndToEndPatchClassifier, EnergyClassifier, class_score
from cavga.shapes import Images, Masks, Photographs, ScoreMap, Scores

# Of the map's pixels, whose mean is the image's score where the prior has none of its own (docs/decisions/0006).
TOP_SHARE = 0.01


@dataclass(frozen=True)
class GraphOutput:
    """Raw scores and maps at the model's input size, higher is more anomalous; masks at the pixel threshold."""

    score: Scores
    anomaly_map: ScoreMap
    mask: Masks


class ScoringGraph(nn.Module, ABC):
    """What a detector needs: an input size, two thresholds, and scores of images of that size."""

    image_threshold: Tensor
    pixel_threshold: Tensor

    def __init__(self, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.image_size = image_size
        self.register_buffer("image_threshold", torch.tensor(torch.inf))
        self.register_buffer("pixel_threshold", torch.tensor(torch.inf))

    @abstractmethod
    def score_images(self, images: Images) -> GraphOutput:
        """Scores, maps and masks of images in [0, 1] that are already at the input size."""


class InferenceGraph(ScoringGraph):
    """A trained model with its thresholds, in eval mode."""

    def __init__(
        self, model: Cavga, *, image_size: tuple[int, int], image_score: str, map_gate: str = "always"
    ) -> None:
        super().__init__(image_size)
        self.model, self.image_score, self.map_gate = model.eval(), image_score, map_gate

    @property
    def score_reads_image(self) -> bool:
        """Whether the image's score reads the image beside what it is encoded to."""
        return self.image_score == "residual"

    def forward(self, photographs: Photographs) -> GraphOutput:
        """Photographs of one size, of any size."""
        return self.score_images(as_images(resize(photographs, self.image_size)))

    def score_images(self, images: Images) -> GraphOutput:
        """As `forward`, for images that are already at the model's input size."""
        return self.score_latent(self.model.encode(images), images=images)

    def score_stages(self, stages: list[Tensor], *, images: Images) -> GraphOutput:
        """As `score_images`, of images that went through the encoder already, with those of other models maybe."""
        return self.score_latent(self.model.latent_of(stages), images=images)

    def score_latent(
        self, latent: Latent | None, energy: Energy | None = None, *, images: Images | None = None
    ) -> GraphOutput:
        """As `score_images`, of what the images are encoded to: the one way from z to score, map and mask.

        `energy` is that of z, where it is known, or one that another prior measured. Only where map and score read
        nothing but that may `latent` be None. `images` are needed where `score_reads_image`.
        """
        if energy is None and self.model.attends_to == "energy":
            assert latent is not None
            energy = self.model.energy(latent.mu)
        patches = self.model.anomaly_map(latent, energy)
        if self.map_gate == "predicted_anomalous":
            patches = torch.where(self._class_score(latent)[:, None, None] >= 0, patches, 0)
        anomaly_map = enlarged(patches, self.image_size)
        score = self.image_score_of(latent, energy, anomaly_map=anomaly_map, images=images)
        return GraphOutput(score, anomaly_map, anomaly_map >= self.pixel_threshold)

    def image_score_of(
        self, latent: Latent | None, energy: Energy | None, *, anomaly_map: ScoreMap | None, images: Images | None
    ) -> Scores:
        """The image's score alone; what its rule does not read may be None.

        With an aggregated prior "map" is the prior's own score: AggregatedPrior makes it from the patches' energies.
        """
        match self.image_score:
            case "residual":
                assert latent is not None
                assert images is not None
                return residual_score(images, self.model.decoder(latent.mu).sigmoid())
            case "class":
                return self._class_score(latent)
            case "joint":
                assert latent is not None
                assert energy is not None
                own = energy_score(energy, self.image_size)
                return self._energy_classifier().joint_score(own, self.model.energies(latent.mu))
            case "map":
                if energy is not None and energy.score is not None:
                    return energy.score
                assert anomaly_map is not None
                return map_score(anomaly_map)
            case _:
                raise ValueError(f"no image score is called {self.image_score!r}")

    def class_attention(self, images: Images) -> Float[Tensor, "batch 2 height width"]:
        """A^cn and A^ca of images at the input size, enlarged to it; raises ValueError without a classifier."""
        latent = self.model.encode(images)
        maps = self.model.class_attention(latent, latent.mu)
        return torch.stack([enlarged(maps[:, c], self.image_size) for c in (0, 1)], dim=1)

    def _energy_classifier(self) -> EnergyClassifier:
        assert isinstance(self.model.classifier, EnergyClassifier)
        return self.model.classifier

    def _class_score(self, latent: Latent | None) -> Scores:
        assert latent is not None
        assert isinstance(self.model.classifier, Classifier | EndToEndPatchClassifier)
        return class_score(self.model.classifier(latent.mu))


def graph_of(model: Cavga, config: RunConfig) -> InferenceGraph:
    """The inference graph that a resolved configuration asks for."""
    return InferenceGraph(
        model,
        image_size=config.data.input_size,
        image_score=config.model.image_score or "map",
        map_gate=config.model.map_gate,
    )


def enlarged(patches: ScoreMap, size: tuple[int, int]) -> Float[Tensor, "batch height width"]:
    """The map's patches enlarged to the input size, bilinear."""
    return functional.interpolate(patches[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def map_score(anomaly_map: ScoreMap) -> Scores:
    """The mean of the map's highest 1 %."""
    pixels = anomaly_map.flatten(1)
    return pixels.topk(max(1, round(TOP_SHARE * pixels.shape[1])), dim=1).values.mean(dim=1)


def energy_score(energy: Energy, size: tuple[int, int]) -> Scores:
    """What an energy alone says of an image: the prior's own score, or that of the energy's map."""
    return map_score(enlarged(energy.patches, size)) if energy.score is None else energy.score


def residual_score(images: Images, reconstructions: Images) -> Scores:
    """s_a of the paper: the pixel-wise difference of image and reconstruction, as the mean absolute one."""
    return (images - reconstructions).abs().mean(dim=(1, 2, 3))
