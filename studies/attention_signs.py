"""The paper's attention read both ways, and the distance of the same features from their training mean.

Part of map_limits.py. Everything stands on layer3 of one frozen ResNet-18, so features are computed once.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cavga.attention import latent_sum_cam
from cavga.config.presets import make_config
from cavga.config.schema import RunConfig
from cavga.data.catalog import load_catalog
from cavga.data.records import ANOMALOUS, ImageRecord
from cavga.images.decode import read_image
from cavga.images.resize import resized
from cavga.images.torch_resize import as_images
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph, enlarged, map_score
from cavga.metrics.image import auroc
from cavga.metrics.pixel import PixelHistogram
from cavga.model.build import build
from cavga.model.latent import LatentHead
from cavga.model.pretrained import load_encoder_weights
from cavga.training.train import train
from map_limits import by_type, mask_at

SIZE = 128  # px
BATCH = 32
SETTINGS = {"image_size": SIZE, "seeds_untrained": [0, 1, 2, 3, 4], "seeds_trained": [0], "epochs": 1}


def sign_rows(name: str, data: Path, weights: str) -> list[dict[str, Any]]:
    """One row per map and seed: AUROC of the map and of its negative, over pixels and over images."""
    catalog = load_catalog(data)
    tested = [record for record in catalog.split("test") if record.label is not None]
    encoder = build(config_of(weights, 0).model, image_size=(SIZE, SIZE)).encoder.eval()
    load_encoder_weights(encoder, weights)
    features = layer3(encoder, tested)
    rows = []
    for title, seeds in (("untrained", SETTINGS["seeds_untrained"]), ("1 epoch", SETTINGS["seeds_trained"])):
        for seed in seeds:
            head = random_head(weights, seed) if title == "untrained" else trained_head(data, weights, seed)
            with torch.no_grad():
                # Before the sigmoid, which is 1 exactly in float32 for much of an image and orders nothing there.
                attention = latent_sum_cam(head([features]), head.bias)
            row = {"set": name, "what": f"low attention, {title}", "seed": seed}
            rows.append(row | both_signs(name, tested, -attention))
            print(rows[-1], flush=True)
    centre = layer3(encoder, catalog.split("train")).mean(dim=0)
    distance = (features - centre).square().sum(dim=1).sqrt()
    row = {"set": name, "what": "feature distance", "seed": None}
    rows.append(row | both_signs(name, tested, distance))
    print(rows[-1], flush=True)
    return rows


def config_of(weights: str, seed: int) -> RunConfig:
    """R_u as `paper` has it, on layer3 alone and frozen: the weights at hand end there."""
    return make_config(
        "paper",
        {
            "data": {"image_size": (SIZE, SIZE)},
            "model": {"stages": (3,), "latent_channels": 256, "train_encoder": False, "weights": weights},
            "training": {"epochs": SETTINGS["epochs"], "seed": seed},
        },
    )


def random_head(weights: str, seed: int) -> LatentHead:
    """The head of mu as it is before training."""
    torch.manual_seed(seed)
    head = build(config_of(weights, seed).model, image_size=(SIZE, SIZE)).mu_head
    assert isinstance(head, LatentHead)
    return head


def trained_head(data: Path, weights: str, seed: int) -> LatentHead:
    """The head of mu after one epoch of Eq. 4 on the set's good images."""
    with tempfile.TemporaryDirectory() as folder:
        detector = AnomalyDetector.load(train(data, Path(folder) / "run", config_of(weights, seed)))
    assert isinstance(detector.engine.graph, InferenceGraph)
    head = detector.engine.graph.model.mu_head
    assert isinstance(head, LatentHead)
    return head.cpu()


@torch.no_grad()
def layer3(encoder: torch.nn.Module, records: Sequence[ImageRecord]) -> Tensor:
    """(images, channels, rows, columns)."""
    parts = []
    for start in range(0, len(records), BATCH):
        photographs = (read_image(record.path) for record in records[start : start + BATCH])
        images = np.stack([resized(image, (SIZE, SIZE)) for image in photographs])
        parts.append(encoder(as_images(torch.from_numpy(images)))[3])
    return torch.cat(parts)


def both_signs(name: str, records: Sequence[ImageRecord], cells: Tensor) -> dict[str, Any]:
    """AUROCs of a map and of its negative; an image's score is the mean of the highest 1 % of either."""
    maps = enlarged(cells, (SIZE, SIZE))
    labels = [record.label or 0 for record in records]
    result: dict[str, Any] = {}
    for sign, values in (("map", maps), ("negative", -maps)):
        image = auroc(map_score(values).numpy(), labels)
        result[sign] = {"image": rounded(image), "pixel": pixel_aurocs(name, records, values)}
    return result


def pixel_aurocs(name: str, records: Sequence[ImageRecord], maps: Tensor) -> dict[str, float | None]:
    """Of the whole set and of each defect type, always against the pixels of the good images as well."""
    anomalous = [record for record in records if record.label == ANOMALOUS and record.mask_paths]
    results = {}
    for title, chosen in by_type(name, anomalous):
        kept, histogram = {record.path for record in chosen}, PixelHistogram()
        for record, anomaly_map in zip(records, maps.numpy(), strict=True):
            if record.path in kept:
                histogram.update(anomaly_map, mask_at(record, SIZE))
            elif record.label != ANOMALOUS:
                histogram.update(anomaly_map, np.zeros((SIZE, SIZE), dtype=np.bool_))
        results[title] = rounded(histogram.auroc())
    return results


def rounded(value: float | None) -> float | None:
    """To four digits."""
    return None if value is None else round(value, 4)
