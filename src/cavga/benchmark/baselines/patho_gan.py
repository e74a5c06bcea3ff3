"""Patho-GAN, a baseline: the features of a classifier of image labels that are active and lie together.

Wang et al., "Pathology-Aware Deep Network Visualization and Its Application in Glaucoma Image Synthesis" (MICCAI 2019).
Features are selected by how active they are, then by their moment of inertia about their centroid, and combined with
gradients as weights. The paper's GAN, which enhances images that it makes, shows no map and is left out.

Chosen: the classifier is that of CAM here; of its last features the most active half is kept, and of these the half
with the smaller moment, the more compact; the paper shows both halves and says neither bound in what could be read.
"""

from typing import Any

import torch
from torch import Tensor

from cavga.benchmark.baselines.label_classifier import LabelClassifier
from cavga.shapes import Images, ScoreMap

ACTIVE_SHARE, COMPACT_SHARE = 0.5, 0.5
SMALLEST = 1e-12  # a feature that is nowhere active has no centroid


def patho_gan(_attributions: Any, model: LabelClassifier, images: Images, _seed: int) -> ScoreMap:
    """The selected features of one image, weighted by the mean gradient of the logit at each; parts above 0."""
    features = model.encoder(images)[model.depth].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.head(features.mean(dim=(2, 3))).sum(), features)
    chosen = selected(features[0].detach())
    weights = gradient.mean(dim=(2, 3))[0, chosen]
    return (weights[:, None, None] * features.detach()[0, chosen]).sum(dim=0, keepdim=True).relu()


def selected(features: Tensor) -> Tensor:
    """Indices of (channels, rows, columns): of the most active the most compact."""
    active = features.amax(dim=(1, 2)).argsort(descending=True)[: max(1, round(ACTIVE_SHARE * len(features)))]
    compact = moments(features[active]).argsort()[: max(1, round(COMPACT_SHARE * len(active)))]
    return active[compact]


def moments(features: Tensor) -> Tensor:
    """The moment of inertia of every feature about its centroid, in squares of the map's side, per unit of mass."""
    rows, columns = features.shape[1:]
    mass = features.relu() + SMALLEST
    shares = mass / mass.sum(dim=(1, 2), keepdim=True)
    down = torch.linspace(0, 1, rows, device=features.device)[:, None]
    across = torch.linspace(0, 1, columns, device=features.device)[None]
    found = torch.zeros(len(features), device=features.device)
    for places in (down, across):
        centroid = (shares * places).sum(dim=(1, 2), keepdim=True)
        found = found + (shares * (places - centroid).square()).sum(dim=(1, 2))
    return found
