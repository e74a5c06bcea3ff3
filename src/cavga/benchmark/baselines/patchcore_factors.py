"""PatchCore and the factor model of our own prior: the baseline that shows what of our lead is the factor model's.

Map and image's score are joined as `cavga.model.prior.AggregatedPrior` joins its mixture and its factor model, with the
memory in place of the mixture: in standard deviations of normal images that neither has seen, a fifth of those fitted
to. The map is the sum of both, smoothed by a patch; the score is the larger of PatchCore's own and the factor model's.
The memory is a fifth of the published baseline's, about the number of centres of our mixture.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor

from cavga.benchmark.baselines.patchcore import PatchcoreGraph
from cavga.data.dataset import image_batches
from cavga.inference.graph import GraphOutput, ScoringGraph, enlarged
from cavga.model.build import map_size_of
from cavga.model.cavga import Cavga
from cavga.model.latent import to_size
from cavga.model.prior import SMALLEST_STD, AggregatedPrior, Energies, flattened
from cavga.shapes import Images
from cavga.training.factor_model import factors
from cavga.training.fit import NUM_FOLDS

CORESET_SHARE = 0.02  # of the training patches


class PatchcoreFactorsGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, model: Cavga, *, image_size: tuple[int, int], seed: int) -> None:
        super().__init__(image_size)
        self.seed = seed
        self.memory = PatchcoreGraph(model, image_size=image_size, seed=seed, coreset_share=CORESET_SHARE)
        self.prior: AggregatedPrior | None = None
        self.register_buffer("score_scales", torch.tensor([[0.0, 0.0], [1.0, 1.0]]))

    @torch.no_grad()
    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Measure the scales without a fifth of the images, then fit memory and factor model to all of them."""
        is_held = np.zeros(len(images), dtype=np.bool_)
        is_held[np.random.default_rng(self.seed).permutation(len(images))[: max(1, len(images) // NUM_FOLDS)]] = True
        is_single = len(images) == 1  # an image that is alone is measured by itself
        self._fit_both(images if is_single else images[~is_held], device)
        measured = [self._measured(batch) for batch in image_batches(images[is_held], device)]
        self._fit_both(images, device)
        assert self.prior is not None
        self.prior.set_scales(Energies.joined([energies for energies, _ in measured]))
        scores = torch.cat([scores for _, scores in measured])
        self.score_scales = torch.stack([scores.mean(dim=0), scores.std(dim=0, correction=0).clamp_min(SMALLEST_STD)])

    def score_images(self, images: Images) -> GraphOutput:
        """The joined map, and the larger of both scores."""
        assert self.prior is not None
        energies, scores = self._measured(images)
        patches, _ = self.prior.joined(energies)
        anomaly_map = enlarged(patches, self.image_size)
        score = ((scores - self.score_scales[0]) / self.score_scales[1]).amax(dim=1)
        return GraphOutput(score, anomaly_map, anomaly_map >= self.pixel_threshold)

    def _fit_both(self, images: NDArray[uint8], device: torch.device) -> None:
        self.memory.fit(images, device)
        model = self.memory.model
        z = torch.cat([model.encode(batch).mu for batch in image_batches(images, device)])
        mean, basis = factors(flattened(z))
        # One centre, which nothing reads: the memory stands in place of the mixture.
        self.prior = AggregatedPrior(
            num_centres=1, num_directions=len(basis), latent_channels=z.shape[1], map_size=map_size_of(model)
        ).to(device)
        self.prior.flat_mean.copy_(mean)
        self.prior.flat_basis.copy_(basis)

    def _measured(self, images: Images) -> tuple[Energies, Float[Tensor, "batch 2"]]:
        """Energies of patches, the memory's the local ones; and both scores of each image, as they are."""
        assert self.prior is not None
        distances, own = self.memory.distances(images)
        energies = self.prior.energies(self.memory.model.encode(images).mu)
        local = to_size(distances[:, None], (energies.local.shape[1], energies.local.shape[2]))[:, 0]
        return Energies(local, energies.flat, energies.flat_score), torch.stack([own, energies.flat_score], dim=1)
