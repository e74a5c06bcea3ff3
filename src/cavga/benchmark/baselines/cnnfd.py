"""CNNFD, a baseline: how far a patch is from a dictionary of what a pretrained network makes of normal patches.

Napoletano et al., "Anomaly Detection in Nanofibrous Materials by CNN-Based Self-Similarity" (Sensors 2018). Patches of
SIDE px go through ResNet-18, one after the other; the mean of its last map is projected to the principal components
that hold EXPLAINED of the variance, and NUM_WORDS centres of k-means are the dictionary. The map is the distance to
the nearest word.

Chosen: the last map is that of the configuration's last stage; patches lie STRIDE px apart and their map is enlarged;
NUM_PATCHES of all training images are drawn; the image's score is the mean of the map's highest 1 %. Components and
centres are scikit-learn's.
"""

import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import output_of
from cavga.config.backbones import BACKBONES, DEFAULT_BACKBONE
from cavga.config.schema import RunConfig
from cavga.data.dataset import image_batches
from cavga.inference.graph import GraphOutput, ScoringGraph, enlarged, map_score
from cavga.model.build import stages_of
from cavga.model.encoder import TorchvisionEncoder
from cavga.model.pretrained import load_encoder_weights
from cavga.shapes import Images

SIDE, NUM_WORDS, EXPLAINED = 16, 10, 0.95  # the paper's
STRIDE = 8
NUM_PATCHES = 5000


class CnnfdGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config.data.input_size)
        self.seed, self.depth = config.training.seed, stages_of(config.model)[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.encoder = TorchvisionEncoder(BACKBONES[DEFAULT_BACKBONE], depth=self.depth, frozen=True)
        load_encoder_weights(self.encoder, config.model.weights or "none")
        self.encoder.eval()
        self.centre = self.components = self.words = torch.zeros(0)

    @torch.no_grad()
    def fit(self, images: NDArray[uint8], device: torch.device) -> None:
        """Components and dictionary, of patches drawn from all training images."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        self.to(device).eval()
        generator, kept = torch.Generator().manual_seed(self.seed), []
        for batch in image_batches(images, device):
            patches = _patches(batch).flatten(0, 1)
            drawn = torch.randperm(len(patches), generator=generator)[: NUM_PATCHES * len(batch) // len(images) + 1]
            kept.append(self._features(patches[drawn.to(device)]).cpu())
        features = torch.cat(kept).numpy()
        found = PCA(EXPLAINED, svd_solver="full").fit(features)
        words = KMeans(NUM_WORDS, n_init=1, random_state=self.seed).fit(found.transform(features)).cluster_centers_
        self.centre, self.components, self.words = (
            torch.from_numpy(values).float().to(device) for values in (found.mean_, found.components_, words)
        )

    def score_images(self, images: Images) -> GraphOutput:
        rows, columns = ((side - SIDE) // STRIDE + 1 for side in self.image_size)
        features = (self._features(_patches(images).flatten(0, 1)) - self.centre) @ self.components.T
        nearest = torch.cdist(features, self.words).amin(dim=1).view(len(images), rows, columns)
        anomaly_map = enlarged(nearest, self.image_size)
        return output_of(self, anomaly_map, map_score(anomaly_map))

    def _features(self, patches: Images) -> Tensor:
        """The mean of the last map of every patch: (patches, channels)."""
        return self.encoder(patches)[self.depth].mean(dim=(2, 3))


def _patches(images: Images) -> Tensor:
    """(batch, places, 3, SIDE, SIDE)."""
    return functional.unfold(images, SIDE, stride=STRIDE).mT.reshape(len(images), -1, 3, SIDE, SIDE)
