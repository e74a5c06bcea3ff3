"""The first filters of an encoder that starts without weights: principal components of patches of the good images.

Random ones are what a few hundred steps on synthetic anomalies change last; these are edges, bars and waves from the
first step on, of the very surface (docs/decisions/0014).
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cavga.data.dataset import image_batch
from cavga.model.encoder import Encoder

MAX_IMAGES = 32  # that patches are taken from
STEP = 3  # px from one patch to the next
SMALLEST_VARIANCE = 1e-4  # of the largest: what varies less is noise
FLOOR = 3e-3  # share of the mean variance that is added to each before filters are divided by it
GAIN = 1 / 3


@torch.no_grad()
def init_filters_by_pca(encoder: Encoder, images: NDArray[np.uint8], *, device: torch.device) -> None:
    """Make the encoder's first filters the leading components of its inputs' patches, each with both signs.

    Filters beyond the components that there are stay random.
    """
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    chosen = np.linspace(0, len(images) - 1, min(MAX_IMAGES, len(images))).round().astype(np.intp)
    batch = encoder.normalised(image_batch(images, chosen, device))
    filters = _components(batch, first.kernel_size[0], first.out_channels // 2)
    both = torch.cat([filters, -filters])
    first.weight[: len(both)] = GAIN * both.view(-1, *first.weight.shape[1:]).to(first.weight)


def _components(batch: Tensor, side: int, most: int) -> Float[Tensor, "components values"]:
    """Principal directions of the patches of `side` px, divided by their standard deviations."""
    patches = functional.unfold(batch, side, stride=STEP).transpose(1, 2).flatten(0, 1).double()
    centred = patches - patches.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0)[:most].clamp_min(0), vectors.flip(1)[:, :most]
    is_kept = values > SMALLEST_VARIANCE * values[0].clamp_min(1e-6)
    scales = (values + FLOOR * values.mean()).rsqrt()
    return (vectors * scales)[:, is_kept].T.float()
