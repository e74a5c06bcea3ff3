"""The model that several studies start from: ImageNet weights, frozen, and mu as the training photographs whiten it."""

import numpy as np
import torch
from numpy.typing import NDArray

from cavga.config.schema import RunConfig
from cavga.model.build import build
from cavga.model.cavga import Cavga
from cavga.model.pretrained import load_encoder_weights
from cavga.training.fit_latent import fit_latent


def fitted_model(config: RunConfig, images: NDArray[np.uint8]) -> Cavga:
    """Encoder and latent, without a prior."""
    model = build(config.model, image_size=config.data.input_size)
    load_encoder_weights(model.encoder, config.model.weights or "none")
    fit_latent(model, images, config.model, device=torch.device("cpu"))
    return model
