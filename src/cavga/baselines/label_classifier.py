"""What the controls of the paper's Table 5 explain: a ResNet-18 that was trained on image labels, normal or anomalous.

The text does not describe the classifier of CAM, guided backpropagation and SmoothGrad. Here it is what CAM needs: the
encoder of backbone R, the mean of its last map over all places, and one linear unit, trained with both classes
weighing alike. So these controls see anomalous training images, which no u or s variant does. Explained is its logit.
The maps are computed by captum (`cavga[baselines]`), which is imported when one of them is run.
"""

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.nn import functional

from cavga.config import RunConfig, epochs_of
from cavga.data.dataset import epoch_batches, image_batch
from cavga.errors import DataError, MissingExtraError, TrainingError
from cavga.inference import InferenceOutput, ScoringGraph, enlarged
from cavga.model.encoder import TorchvisionEncoder
from cavga.model.variants import stages_of
from cavga.model.weights import load_encoder_weights
from cavga.networks import DEFAULT_NETWORK, NETWORKS
from cavga.shapes import Images, ScoreMap, Scores

logger = logging.getLogger("cavga")


class LabelClassifier(nn.Module):
    """Images -> the logit of anomalous; `last` is where the last map of the encoder can be hooked."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        depth = stages_of(config.model)[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            self.encoder = TorchvisionEncoder(NETWORKS[DEFAULT_NETWORK], depth=depth, frozen=False)
            self.last, self.head = nn.Identity(), nn.Linear(self.encoder.stage_channels[depth], 1)
        load_encoder_weights(self.encoder, config.model.weights or "none")
        for module in self.encoder.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # hooks see what goes in
        self.depth = depth

    def forward(self, images: Images) -> Scores:
        features = self.last(self.encoder(images)[self.depth])
        return self.head(features.mean(dim=(2, 3)))[:, 0]


def captum_attributions() -> Any:
    """captum.attr; raises MissingExtraError where captum is not installed."""
    try:
        from captum import attr
    except ImportError:
        raise MissingExtraError(
            "CAM, guided backpropagation and SmoothGrad need captum: pip install 'cavga[baselines]'"
        ) from None
    return attr


def fitted_classifier(
    config: RunConfig, normal: NDArray[np.uint8], anomalous: NDArray[np.uint8], device: torch.device
) -> LabelClassifier:
    """A classifier trained on both classes from the start, in eval mode.

    Raises DataError without anomalous images, TrainingError if the loss is not finite.
    """
    if not len(anomalous):
        raise DataError("there is no anomalous training image, which a classifier of image labels needs")
    model, settings = LabelClassifier(config).to(device), config.training
    images = np.concatenate([normal, anomalous])
    labels = torch.from_numpy((np.arange(len(images)) >= len(normal)).astype(np.float32)).to(device)
    balance = torch.tensor(len(normal) / len(anomalous), device=device)
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=settings.learning_rate)
    for epoch in range(epochs_of(config)):
        model.train()
        model.encoder.train(not model.encoder.has_fixed_norm)
        total = 0.0
        for indices, _ in epoch_batches(len(images), settings, epoch):
            logits = model(image_batch(images, indices, device))
            loss = functional.binary_cross_entropy_with_logits(
                logits, labels[torch.from_numpy(indices).to(device)], pos_weight=balance
            )
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is {loss.item()} in epoch {epoch}: try a smaller --learning-rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimizer.step()
            total += loss.item() * len(indices)
        logger.info("labels: epoch %d of %d, loss %.5g", epoch + 1, epochs_of(config), total / len(images))
    return model.eval()


def explained(
    graph: ScoringGraph, model: LabelClassifier, images: Images, saliency: Callable[[Images], ScoreMap]
) -> InferenceOutput:
    """The probability of anomalous, and the saliency of one image at a time, enlarged where it is smaller."""
    # Inside the engine's inference mode nothing has a gradient; a clone made outside it has.
    with torch.inference_mode(False), torch.enable_grad():
        maps = torch.cat([saliency(image[None].clone()).detach() for image in images])
        scores = model(images.clone()).sigmoid().detach()
    anomaly_map = maps if maps.shape[1:] == graph.image_size else enlarged(maps, graph.image_size)
    return InferenceOutput(scores, anomaly_map, anomaly_map >= graph.pixel_threshold)


def strongest_colour(attribution: Float[Tensor, "batch 3 height width"]) -> ScoreMap:
    """The largest absolute value of a pixel's three colours, as gradients are shown."""
    return attribution.abs().amax(dim=1)
