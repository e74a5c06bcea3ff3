"""The classifiers C of the weakly supervised variants: z -> the logits of normal and anomalous."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cavga.shapes import ClassLogits, LatentMap, ScoreMap, Scores

TOP_SHARE = 1 / 32  # of the cells, those of most energy, that the second half of the features looks at
CAM_WEIGHT = 0.3  # of C's map beside the energy's, both in deviations of normal cells (docs/decisions/0008)
ATTENTION_MIDDLE = 3.0  # deviations above normal cells where attention is a half
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
    """C on the energies z_k^2 of a whitened z in units of the prior's deviation: linear on their logarithms.

    The features are log mean z_k^2 over all cells, then over the cells of most energy. The logits are
    (-q/2, q/2). Beside the energy that the u variants score, q and its map count in deviations of the
    normal training images. Nothing here is trained with the network: see cavga.classification.
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
        # Mean energies of the normal training images: where the gradient of q is taken for its map.
        self.register_buffer("reference", torch.ones(2 * latent_channels))
        # Mean and deviation (columns) on normal images and cells, of the energy and of q (rows).
        self.register_buffer("image_scale", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        self.register_buffer("cell_scale", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    def features(self, squares: LatentMap) -> Float[Tensor, "batch double_latent"]:
        """Log mean z_k^2 over all cells, and over the cells of most energy."""
        cells = squares.flatten(2)
        num_top = max(1, round(TOP_SHARE * cells.shape[2]))
        top = cells.mean(dim=1).topk(num_top, dim=1).indices
        chosen = torch.gather(cells, 2, top[:, None].expand(-1, cells.shape[1], -1))
        return (torch.cat([cells.mean(dim=2), chosen.mean(dim=2)], dim=1) + LOG_FLOOR).log()

    def forward(self, squares: LatentMap) -> ClassLogits:
        q = (self.features(squares) - self.centre) @ self.weight + self.bias
        return torch.stack([-q / 2, q / 2], dim=1)

    def cam(self, squares: LatentMap) -> ScoreMap:
        """The map of q: sum_k v_k z_k^2, with v the gradient of q for the energies at their normal means.

        Taken at the image's own energies instead it would sum to the same for every image: a logarithm's
        gradient is one over its argument.
        """
        slopes = self.weight / (self.reference + LOG_FLOOR)
        num_channels = squares.shape[1]
        return torch.einsum("k,bkij->bij", slopes[:num_channels] + slopes[num_channels:], squares)

    def joint_score(self, energy_score: Scores, squares: LatentMap) -> Scores:
        """The energy's score plus q, each in deviations of the normal training images."""
        q = class_score(self(squares))
        return _scaled(energy_score, self.image_scale[0]) + _scaled(q, self.image_scale[1])

    def anomaly_map(self, energy: ScoreMap, squares: LatentMap) -> ScoreMap:
        """The energy plus a share of q's map, each in deviations of normal cells."""
        return _scaled(energy, self.cell_scale[0]) + CAM_WEIGHT * _scaled(self.cam(squares), self.cell_scale[1])

    def anomalous_attention(self, energy: ScoreMap, squares: LatentMap) -> ScoreMap:
        """A^ca in [0, 1]; A^cn is 1 - A^ca, because the logits are opposite."""
        return (self.anomaly_map(energy, squares) - ATTENTION_MIDDLE).sigmoid()


def _scaled(values: Tensor, scale: Tensor) -> Tensor:
    return (values - scale[0]) / scale[1]
