"""The classifiers C: of the paper (z flattened), of w (energies), of s (its trained attention), of s end to end.

Each reads z, or what stands for it, and gives the logits of normal and anomalous.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from cavga.losses import SMALLEST_HALF_ENERGY
from cavga.model.prior import smoothed
from cavga.shapes import AttentionMap, ClassLogits, LatentMap, ScoreMap, Scores

TOP_SHARE = 1 / 32  # of the patches, those of most energy, that the second half of the features looks at
CAM_WEIGHT = 0.3  # of C's map beside the energy's, both in standard deviations of normal patches (docs/decisions/0008)
ATTENTION_MIDDLE = 3.0  # standard deviations above normal patches where attention is a half
LOG_FLOOR = 1e-3  # added to an energy, which is about 1 on normal images, before the logarithm


def class_score(class_logits: ClassLogits) -> Scores:
    """logit(c_a) - logit(c_n): 0 or more where C calls an image anomalous."""
    return class_logits[:, 1] - class_logits[:, 0]


class Classifier(nn.Module):
    """z, flattened, and a linear layer with two nodes: 0 normal, 1 anomalous.

    `class_score` names what the attention of a class explains: its logit, or its probability.
    """

    def __init__(
        self, *, latent_channels: int, map_size: tuple[int, int], class_score: Literal["logit", "probability"]
    ) -> None:
        super().__init__()
        self.latent_size = (latent_channels, *map_size)
        self.class_score = class_score
        self.linear = nn.Linear(latent_channels * map_size[0] * map_size[1], 2)

    def forward(self, z: LatentMap) -> ClassLogits:
        return self.linear(z.flatten(1))

    @property
    def weight_maps(self) -> Float[Tensor, "2 latent rows columns"]:
        """The weight row of each class, in the shape of z."""
        return self.linear.weight.view(2, *self.latent_size)


class EnergyClassifier(nn.Module):
    """C on the energies z_k^2 of a whitened z in units of the prior's standard deviation: linear on their logarithms.

    The features are log mean z_k^2 over all patches, then over the patches of most energy. The logits are
    (-q/2, q/2). Beside the energy that the u variants score, q and its map count in standard deviations of the
    normal training images. Nothing here is trained with the network: see cavga.training.fit_classifier.
    """

    weight: Tensor
    centre: Tensor
    bias: Tensor
    reference: Tensor
    image_scale: Tensor
    cell_scale: Tensor

    def __init__(self, *, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(2 * latent_channels))
        self.register_buffer("centre", torch.zeros(2 * latent_channels))
        self.register_buffer("bias", torch.zeros(()))
        # Energies between those of the normal and of the bad training images, where the gradient of q is taken for its
        # map; in models of before, those of the normal ones.
        self.register_buffer("reference", torch.ones(2 * latent_channels))
        # Mean and standard deviation (columns) on normal images and patches, of the energy and of q (rows).
        self.register_buffer("image_scale", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        self.register_buffer("cell_scale", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    def features(self, squares: LatentMap) -> Float[Tensor, "batch double_latent"]:
        """Log mean z_k^2 over all patches, and over the patches of most energy."""
        patches = squares.flatten(2)
        num_top = max(1, round(TOP_SHARE * patches.shape[2]))
        top = patches.mean(dim=1).topk(num_top, dim=1).indices
        chosen = torch.gather(patches, 2, top[:, None].expand(-1, patches.shape[1], -1))
        return (torch.cat([patches.mean(dim=2), chosen.mean(dim=2)], dim=1) + LOG_FLOOR).log()

    def forward(self, squares: LatentMap) -> ClassLogits:
        q = (self.features(squares) - self.centre) @ self.weight + self.bias
        return torch.stack([-q / 2, q / 2], dim=1)

    def cam(self, squares: LatentMap) -> ScoreMap:
        """The map of q: sum_k v_k z_k^2, with v the gradient of q for the energies at their reference.

        There it is what q changes by from normal to bad images, a unit of energy. At the normal means, which are near 0
        for some channels, it would be so steep that bad images get thousands of thresholds and float32 rounds by more
        than a runtime may differ.
        Taken at the image's own energies instead it would sum to the same for every image: a logarithm's
        gradient is one over its argument.
        """
        slopes = self.weight / (self.reference + LOG_FLOOR)
        num_channels = squares.shape[1]
        return torch.einsum("k,bkij->bij", slopes[:num_channels] + slopes[num_channels:], squares)

    def joint_score(self, energy_score: Scores, squares: LatentMap) -> Scores:
        """The energy's score plus q, each in standard deviations of the normal training images."""
        q = class_score(self(squares))
        return _scaled(energy_score, self.image_scale[0]) + _scaled(q, self.image_scale[1])

    def anomaly_map(self, energy: ScoreMap, squares: LatentMap) -> ScoreMap:
        """The energy plus a share of q's map, each in standard deviations of normal patches."""
        return _scaled(energy, self.cell_scale[0]) + CAM_WEIGHT * _scaled(self.cam(squares), self.cell_scale[1])

    def anomalous_attention(self, energy: ScoreMap, squares: LatentMap) -> ScoreMap:
        """A^ca in [0, 1]; A^cn is 1 - A^ca, because the logits are opposite."""
        return (self.anomaly_map(energy, squares) - ATTENTION_MIDDLE).sigmoid()


def _scaled(values: Tensor, scale: Tensor) -> Tensor:
    return (values - scale[0]) / scale[1]


CONTEXT_PATCHES = 4  # a side, averaged for what is around a patch
GUIDED_CHANNELS = 16  # of y
GUIDED_HIDDEN = 128
DROPOUT = 0.3  # of the inputs, in training
PATCH_TOP_SHARE = 1 / 32  # of the patches, whose mean logit is the image's
MAP_WEIGHT = 0.5  # of ||y|| in the map beside the energy, both in standard deviations (docs/decisions/0029)


class GuidedHead(nn.Module):
    """y, the channels of z whose attention is trained: of z, of what is around each patch and of the image's mean.

    Their prior is N(0, I), so that the normality score of y is -||y||^2 / 2. Its element-wise Grad-CAM at y is
    -||y||^2 (`cavga.attention.normality_cam`), and A = exp(-||y||^2 / 2). That is C's probability of normal: its logits
    (-q/2, q/2) have q = log((1 - A) / A), so that A^cn = A and A^ca = 1 - A.
    `scale` holds the mean and standard deviation of the smoothed ||y|| on normal images that it was not trained on,
    `unit` the standard deviation of each channel of z.
    """

    unit: Tensor
    scale: Tensor
    energy_scale: Tensor

    def __init__(self, *, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(latent_channels))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        # Of a prior whose energy is not in standard deviations by itself.
        self.register_buffer("energy_scale", torch.tensor([0.0, 1.0]))
        # No batch norm: of the patches that it is trained on half are anomalous, of a photograph's few are.
        self.layers = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Conv2d(3 * latent_channels, GUIDED_HIDDEN, 1),
            nn.ReLU(),
            nn.Conv2d(GUIDED_HIDDEN, GUIDED_HIDDEN, 1),
            nn.ReLU(),
            nn.Conv2d(GUIDED_HIDDEN, GUIDED_CHANNELS, 1),
        )

    def context(self, z: LatentMap) -> Float[Tensor, "batch context rows columns"]:
        """What y is computed from."""
        return with_context(z / self.unit.view(1, -1, 1, 1))

    def guided(self, z: LatentMap) -> Float[Tensor, "batch guided rows columns"]:
        """Y at every patch."""
        y: Tensor = self.layers(self.context(z))
        return y

    def energy(self, z: LatentMap) -> ScoreMap:
        """||y||^2 of every patch."""
        return self.guided(z).square().sum(dim=1)

    def attention(self, z: LatentMap) -> AttentionMap:
        """A in [0, 1] of normality."""
        return (-self.energy(z) / 2).exp()

    def cam(self, z: LatentMap) -> ScoreMap:
        """The logit of every patch, anomalous against normal: log((1 - A) / A)."""
        half = (self.energy(z) / 2).clamp_min(SMALLEST_HALF_ENERGY)
        return half + torch.log(-torch.expm1(-half))

    def forward(self, z: LatentMap) -> ClassLogits:
        """The logits of the image: those of its most anomalous patches."""
        return image_logits(self.cam(z))

    def distance(self, z: LatentMap) -> ScoreMap:
        """||y|| of every patch, smoothed as the map is."""
        return smoothed(self.energy(z).sqrt())

    def anomaly_map(self, energy: ScoreMap, z: LatentMap) -> ScoreMap:
        """The prior's energy plus a share of ||y||, each in standard deviations of normal patches."""
        patches = (self.distance(z) - self.scale[0]) / self.scale[1]
        return (energy - self.energy_scale[0]) / self.energy_scale[1] + MAP_WEIGHT * patches


class PatchClassifier(nn.Module):
    """What r-s and d-s had in the place of `GuidedHead` before decision 0029; read, and trained no more.

    One logit a patch, from z, from what is around it and from the mean of the image. Its buffers are as there.
    """

    unit: Tensor
    scale: Tensor
    energy_scale: Tensor

    def __init__(self, *, latent_channels: int) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(latent_channels))
        self.register_buffer("scale", torch.tensor([0.0, 1.0]))
        self.register_buffer("energy_scale", torch.tensor([0.0, 1.0]))
        self.layers = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Conv2d(3 * latent_channels, GUIDED_HIDDEN, 1),
            nn.BatchNorm2d(GUIDED_HIDDEN),
            nn.ReLU(),
            nn.Conv2d(GUIDED_HIDDEN, GUIDED_HIDDEN, 1),
            nn.ReLU(),
            nn.Conv2d(GUIDED_HIDDEN, 1, 1),
        )

    def cam(self, z: LatentMap) -> ScoreMap:
        """The logit of every patch, anomalous against normal."""
        logits: Tensor = self.layers(with_context(z / self.unit.view(1, -1, 1, 1)))
        return logits[:, 0]

    def forward(self, z: LatentMap) -> ClassLogits:
        """The logits of the image: those of its most anomalous patches."""
        return image_logits(self.cam(z))

    def anomaly_map(self, energy: ScoreMap, z: LatentMap) -> ScoreMap:
        """The energy plus a share of the map of logits, each in standard deviations of normal patches."""
        patches = (smoothed(self.cam(z)) - self.scale[0]) / self.scale[1]
        return (energy - self.energy_scale[0]) / self.energy_scale[1] + MAP_WEIGHT * patches


def with_context(z: LatentMap) -> Float[Tensor, "batch context rows columns"]:
    """z, its mean around each patch, and its mean over the image."""
    rows, columns = z.shape[2:]
    coarse = functional.avg_pool2d(z, min(CONTEXT_PATCHES, rows, columns))
    coarse = functional.avg_pool2d(functional.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    around = functional.interpolate(coarse, size=(rows, columns), mode="bilinear", align_corners=False)
    return torch.cat([z, around, z.mean(dim=(2, 3), keepdim=True).expand_as(z)], dim=1)


def top_mean(cam: ScoreMap) -> Float[Tensor, " batch"]:
    """The mean of an image's PATCH_TOP_SHARE highest patches."""
    patches = cam.flatten(1)
    return patches.topk(max(1, round(PATCH_TOP_SHARE * patches.shape[1])), dim=1).values.mean(dim=1)


END_TO_END_HIDDEN = 64
FIRST_LOGIT = -2.0  # most patches are normal: without it the first steps learn only that


class EndToEndPatchClassifier(nn.Module):
    """Two 3x3 convolutions on z and a 1x1, whose map of logits is the class activation map of the anomalous class.

    As with `GuidedHead` the logits of the classes are opposite, (-q/2, q/2), so that A^cn = 1 - A^ca; but z is
    not given to it, it learns what z is to be.
    """

    def __init__(self, *, latent_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(latent_channels),
            nn.ReLU(),
            *_convolution(latent_channels, END_TO_END_HIDDEN),
            *_convolution(END_TO_END_HIDDEN, END_TO_END_HIDDEN),
        )
        self.readout = nn.Conv2d(END_TO_END_HIDDEN, 1, 1)
        assert self.readout.bias is not None
        nn.init.constant_(self.readout.bias, FIRST_LOGIT)

    def cam(self, z: LatentMap) -> ScoreMap:
        """The logit of every patch, anomalous against normal."""
        patches: Tensor = self.readout(self.layers(z))
        return patches[:, 0]

    def forward(self, z: LatentMap) -> ClassLogits:
        """The logits of the image: those of its most anomalous patches."""
        return image_logits(self.cam(z))


def image_logits(cam: ScoreMap) -> ClassLogits:
    """The logits of both classes from the map of patches."""
    q = top_mean(cam)
    return torch.stack([-q / 2, q / 2], dim=1)


def _convolution(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]
