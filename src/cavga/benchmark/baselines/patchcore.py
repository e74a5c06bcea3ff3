"""PatchCore on the features of our own encoder: the baseline that shows what a memory of patches makes of them.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (CVPR 2022). A patch is a place of
stages 2 and 3, each averaged over 3x3 places before they are merged; of a model without both stages,
a place of all its stages. The map is the distance to the nearest patch of the bank, blurred; the
image's score is the greatest distance before the blur, less where its neighbour is itself a rare one.

The bank is the greedy coreset of 10 % of the training patches, one of the paper's 25, 10 and 1 %; it
is chosen under a random projection to 64 dimensions and holds the patches unprojected. As many
patches chosen at random are no PatchCore: with 1 % of them the image score of screw is next to chance.
"""

import torch
from jaxtyping import Float, Int64
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cavga.benchmark.baselines.padim import blurred_as_published
from cavga.data.dataset import image_batches
from cavga.inference.graph import GraphOutput, ScoringGraph, enlarged
from cavga.model.cavga import Cavga
from cavga.model.coreset import greedy_coreset
from cavga.model.latent import to_size
from cavga.shapes import Images, Scalar, ScoreMap, Scores

STAGES = (2, 3)  # the paper's
CORESET_SHARE = 0.1  # of the training patches
NUM_PROJECTED = 64  # dimensions in which the coreset is chosen: distances are then about a tenth off
NUM_NEIGHBOURS = 9  # b of the paper's re-weighting, the official code's choice

Patches = Float[Tensor, "patches features"]
Bank = Float[Tensor, "kept features"]


class PatchcoreGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both.

    Fitting holds every training patch in memory: 1.5 MB an image of 256 px with ResNet-18.
    """

    def __init__(
        self, model: Cavga, *, image_size: tuple[int, int], seed: int, coreset_share: float = CORESET_SHARE
    ) -> None:
        super().__init__(image_size)
        self.model, self.seed, self.coreset_share = model.eval(), seed, coreset_share
        self.stages = STAGES if set(STAGES) <= set(model.stages) else model.stages
        self.bank = torch.zeros(0)

    @torch.no_grad()
    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Keep the coreset of all patches of the training images."""
        patches = torch.cat([self.patches(batch).flatten(0, 2) for batch in image_batches(images, device)])
        generator = torch.Generator().manual_seed(self.seed)
        projection = torch.randn(patches.shape[1], NUM_PROJECTED, generator=generator).to(device)
        num_kept = max(round(self.coreset_share * len(patches)), min(NUM_NEIGHBOURS, len(patches)))
        first = int(torch.randint(len(patches), (), generator=generator))
        self.bank = patches[greedy_coreset(patches @ projection, num_kept, first=first)]

    def score_images(self, images: Images) -> GraphOutput:
        """The map of nearest-neighbour distances, and the re-weighted greatest one."""
        distances, scores = self.distances(images)
        anomaly_map = blurred_as_published(enlarged(distances, self.image_size))
        return GraphOutput(scores, anomaly_map, anomaly_map >= self.pixel_threshold)

    def distances(self, images: Images) -> tuple[ScoreMap, Scores]:
        """The distance of every patch to its nearest in the bank, and of each image the re-weighted greatest one."""
        scores, maps = [], []
        for rows in self.patches(images):  # one image at a time: the distances of all are large
            patches = rows.flatten(0, 1)
            distances, nearest = nearest_neighbours(patches, self.bank)
            worst = int(distances.argmax())
            scores.append(reweighted(distances[worst], patches[worst], self.bank, nearest=int(nearest[worst])))
            maps.append(distances.view(rows.shape[:2]))
        return torch.stack(maps), torch.stack(scores)

    def patches(self, images: Images) -> Float[Tensor, "batch rows columns features"]:
        """The patch features of images at the input size, at the resolution of the finest stage."""
        maps = self.model.encoder(images)
        # Zeros beyond the border count as neighbours, as in the official code.
        pooled = [functional.avg_pool2d(maps[stage], 3, stride=1, padding=1) for stage in self.stages]
        size = (pooled[0].shape[2], pooled[0].shape[3])
        return torch.cat([to_size(features, size) for features in pooled], dim=1).permute(0, 2, 3, 1)


def nearest_neighbours(patches: Patches, bank: Bank) -> tuple[Float[Tensor, " patches"], Int64[Tensor, " patches"]]:
    """The Euclidean distance of each patch to its nearest in the bank, and which that is."""
    smallest = torch.cdist(patches, bank).min(dim=1)
    return smallest.values, smallest.indices


def reweighted(distance: Scalar, patch: Float[Tensor, " features"], bank: Bank, *, nearest: int) -> Scalar:
    """The paper's Eq. 7: the distance s* times 1 - exp(s*) / sum of exp(distances), over `nearest`'s b nearest."""
    num_neighbours = min(NUM_NEIGHBOURS, len(bank))
    to_nearest = torch.linalg.vector_norm(bank - bank[nearest], dim=1)
    neighbours = to_nearest.topk(num_neighbours, largest=False).indices  # `nearest` is one of them
    to_neighbours = torch.linalg.vector_norm(bank[neighbours] - patch, dim=1)
    return distance * (1 - (distance - to_neighbours.logsumexp(dim=0)).exp())
