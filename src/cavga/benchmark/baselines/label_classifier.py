"""What the baselines of the paper's Table 5 explain: a ResNet-18 that was trained on image labels, normal or anomalous.

The text does not describe the classifier of CAM, guided backpropagation and SmoothGrad. Here it is what CAM needs: the
encoder of backbone R, the mean of its last map over all places, and one linear unit, trained with both classes
weighing alike. So these baselines see anomalous training images, which no u or s variant does. Explained is its logit.
The maps are computed by captum (`cavga[baselines]`), which is imported when one of them is run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cavga.benchmark.baselines.autoencoder import descend, output_of
from cavga.config.backbones import BACKBONES, DEFAULT_BACKBONE
from cavga.config.schema import RunConfig
from cavga.data.dataset import image_batch
from cavga.errors import DataError, MissingExtraError
from cavga.inference.graph import GraphOutput, ScoringGraph, enlarged
from cavga.model.build import stages_of
from cavga.model.encoder import TorchvisionEncoder
from cavga.model.pretrained import load_encoder_weights
from cavga.shapes import Images, Scalar, ScoreMap, Scores


class LabelClassifier(nn.Module):
    """Images -> the logit of anomalous; `last` is where the last map of the encoder can be hooked."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        depth = stages_of(config.model)[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            self.encoder = TorchvisionEncoder(BACKBONES[DEFAULT_BACKBONE], depth=depth, frozen=False)
            self.last, self.head = nn.Identity(), nn.Linear(self.encoder.stage_channels[depth], 1)
        load_encoder_weights(self.encoder, config.model.weights or "none")
        for module in self.encoder.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # hooks see what goes in
        self.depth = depth

    def forward(self, images: Images) -> Scores:
        features = self.last(self.encoder(images)[self.depth])
        return self.head(features.mean(dim=(2, 3)))[:, 0]


# captum.attr, the classifier, one image, the seed of noise -> its map
Explain = Callable[[Any, LabelClassifier, Images, int], ScoreMap]


def captum_attributions() -> Any:
    """captum.attr; raises MissingExtraError where captum is not installed."""
    try:
        from captum import attr
    except ImportError:
        raise MissingExtraError(
            "CAM, guided backpropagation and SmoothGrad need captum: pip install 'cavga[baselines]'"
        ) from None
    return attr


class ExplanationGraph(ScoringGraph):
    """Scores images as `cavga.inference.graph.InferenceGraph` does, so that the same harness measures both.

    The image's score is the probability of anomalous, its map what `explain` says of it. Scoring takes backward
    passes, so it cannot be exported. Raises MissingExtraError without captum.
    """

    def __init__(self, explain: Explain, config: RunConfig, anomalous: NDArray[np.uint8]) -> None:
        super().__init__(config.data.input_size)
        self.attributions: Any = captum_attributions()
        self.explain, self.config, self.anomalous = explain, config, anomalous
        self.model = LabelClassifier(config)

    def fit(self, images: NDArray[np.uint8], device: torch.device) -> None:
        """Train on all normal images and the labelled anomalous ones, from the start."""
        self.model = fitted_classifier(self.config, images, self.anomalous, device)

    def score_images(self, images: Images) -> GraphOutput:
        """The probability of anomalous, and the saliency of one image at a time, enlarged where it is smaller."""
        # Inside the engine's inference mode nothing has a gradient; a clone made outside it has.
        with torch.inference_mode(False), torch.enable_grad():
            maps = torch.cat([self.saliency(image[None].clone()).detach() for image in images])
            scores = self.model(images.clone()).sigmoid().detach()
        anomaly_map = maps if maps.shape[1:] == self.image_size else enlarged(maps, self.image_size)
        return output_of(self, anomaly_map, scores)

    def saliency(self, images: Images) -> ScoreMap:
        """What the classifier looks at."""
        return self.explain(self.attributions, self.model, images, self.config.training.seed)


def fitted_classifier(
    config: RunConfig, normal: NDArray[np.uint8], anomalous: NDArray[np.uint8], device: torch.device
) -> LabelClassifier:
    """A classifier trained on both classes from the start, in eval mode.

    Raises DataError without anomalous images, TrainingError if the loss is not finite.
    """
    if not len(anomalous):
        raise DataError("there is no anomalous training image, which a classifier of image labels needs")
    model = LabelClassifier(config).to(device)
    images = np.concatenate([normal, anomalous])
    labels = torch.from_numpy((np.arange(len(images)) >= len(normal)).astype(np.float32)).to(device)
    balance = torch.tensor(len(normal) / len(anomalous), device=device)

    def loss_of(indices: NDArray[np.intp]) -> Scalar:
        logits = model(image_batch(images, indices, device))
        wanted = labels[torch.from_numpy(indices).to(device)]
        return functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=balance)

    model.train()
    model.encoder.train(not model.encoder.has_fixed_norm)
    descend(model, loss_of, len(images), config.training, name="labels")
    return model.eval()


def strongest_colour(attribution: Float[Tensor, "batch 3 height width"]) -> ScoreMap:
    """The largest absolute value of a pixel's three colours, as gradients are shown."""
    return attribution.abs().amax(dim=1)
