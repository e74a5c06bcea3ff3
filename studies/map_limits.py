"""What a coarse map could reach at best, and what attention and plain feature distances reach: three cheap tests.

python -m studies.map_limits ROOT WEIGHTS    # ROOT as in README.md, WEIGHTS of ResNet-18 to layer3 at least

1. The IoU of an oracle: a map of N x N patches that knows each patch's anomalous share, cut at the best threshold.
2. The AUROC of the paper's attention read both ways: low attention is anomalous, or high attention is.
3. The baseline: how far a position's features are from their mean over the training images.

The second and third stand on layer3 of one frozen ResNet-18, so features are computed once. ROOT holds magnetic_tile,
mvtec_ad/screw and mvtec_loco/juice_bottle. Writes benchmarks/results/map_limits.jsonl.
"""

import hashlib
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.result_files import write_result
from cavga.arrays import Mask
from cavga.attention import latent_sum_cam
from cavga.config.presets import make_config
from cavga.config.schema import RunConfig
from cavga.data.catalog import load_catalog
from cavga.data.manifest import sha256_of
from cavga.data.records import ANOMALOUS, ImageRecord
from cavga.images.decode import read_image
from cavga.images.resize import resized
from cavga.images.torch_resize import as_images
from cavga.inference.detector import AnomalyDetector
from cavga.inference.graph import InferenceGraph, enlarged, map_score
from cavga.metrics.image import auroc
from cavga.metrics.pixel import PerImageCounts, PixelHistogram
from cavga.model.build import build
from cavga.model.latent import LatentHead
from cavga.model.pretrained import load_encoder_weights
from cavga.training.run_folder import versions
from cavga.training.train import train
from studies.rows import by_type, mask_at, rounded

RESULT = "map_limits"
SETS = ("magnetic_tile", "mvtec_ad/screw", "mvtec_loco/juice_bottle")
GRIDS = (8, 16, 32, 56)  # patches a side
MASK_SIZE = 256  # px
ATTENTION_SIZE = 128  # px
BATCH = 32
ATTENTION = {"image_size": ATTENTION_SIZE, "seeds_untrained": [0, 1, 2, 3, 4], "seeds_trained": [0], "epochs": 1}

Floats = NDArray[np.float32]


def main() -> None:
    """Measure every set and write the file."""
    root, weights = Path(sys.argv[1]), sys.argv[2]
    grids = [row for name in SETS for row in grid_rows(name, root / name)]
    signs = [row for name in SETS for row in sign_rows(name, root / name, weights)]
    content = {
        "machine": platform.machine(),
        "versions": dict(versions()),
        "data_sha256": {name: test_hash(root / name) for name in SETS},
        "mask_size": MASK_SIZE,
        "grids": grids,
        "attention": ATTENTION,
        "signs": signs,
    }
    write_result(RESULT, content)


def grid_rows(name: str, data: Path) -> list[dict[str, Any]]:
    """The oracle's IoU on one set and, where there are several, on each of its defect types by itself."""
    masked = [record for record in load_catalog(data).split("test") if record.mask_paths]
    rows = []
    for title, records in by_type(name, masked):
        masks = [mask_at(record, MASK_SIZE) for record in records]
        masks = [mask for mask in masks if mask.any()]  # a few pixels can vanish when resized
        share = float(np.mean([mask.mean() for mask in masks]))
        for patches in GRIDS:
            row = {"set": title, "images": len(masks), "anomalous_share": round(share, 5), "cells": patches}
            rows.append(row | oracle_iou(masks, patches))
            print(rows[-1], flush=True)
    return rows


def oracle_iou(masks: Sequence[Mask], patches: int) -> dict[str, float]:
    """Best IoU over all pixels at once and as the mean per image, each at its one best threshold.

    `constant`: patches not interpolated. There no map does better over all pixels at once, since the best union
    of patches takes those whose anomalous share is above a threshold. Interpolated maps are not proven best.
    """
    size = masks[0].shape[0]
    average = cell_average(size, patches)
    results = {}
    for kind, enlarge in (("bilinear", bilinear(patches, size)), ("constant", repeated(patches, size))):
        operator = (enlarge @ average).astype(np.float32)
        histogram = PixelHistogram()
        for mask in masks:
            histogram.update(oracle_map(mask, operator), mask)
        counts = PerImageCounts(histogram.candidate_thresholds())
        for mask in masks:
            counts.update(oracle_map(mask, operator), mask)
        for what, best in (("dataset", histogram.oracle_iou()), ("per_image", counts.oracle_iou())):
            assert best is not None
            results[f"{kind}_{what}"] = round(best[0], 4)
    return results


def oracle_map(mask: Mask, operator: Floats) -> Floats:
    """The mask averaged over patches and enlarged again: `operator` does both along one axis."""
    return operator @ mask.astype(np.float32) @ operator.T


def cell_average(size: int, patches: int) -> NDArray[np.float64]:
    """(patches, size): the share of each pixel in each patch, rows summing to 1; patches may cut pixels."""
    edges = np.arange(patches + 1) * size / patches
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return overlap.clip(0) * patches / size


def bilinear(patches: int, size: int) -> NDArray[np.float64]:
    """(size, patches): bilinear interpolation, corners not aligned, borders repeated, as the detector enlarges maps."""
    centres = ((np.arange(size) + 0.5) * patches / size - 0.5).clip(0, patches - 1)
    return (1 - np.abs(centres[:, None] - np.arange(patches))).clip(0)


def repeated(patches: int, size: int) -> NDArray[np.float64]:
    """(size, patches): every pixel takes the patch that its centre lies in."""
    chosen = ((np.arange(size) + 0.5) * patches / size).astype(np.intp)
    return np.eye(patches)[chosen]


def sign_rows(name: str, data: Path, weights: str) -> list[dict[str, Any]]:
    """One row per map and seed: AUROC of the map and of its negative, over pixels and over images."""
    catalog = load_catalog(data)
    tested = [record for record in catalog.split("test") if record.label is not None]
    encoder = build(config_of(weights, 0).model, image_size=(ATTENTION_SIZE, ATTENTION_SIZE)).encoder.eval()
    load_encoder_weights(encoder, weights)
    features = layer3(encoder, tested)
    rows = []
    for title, seeds in (("untrained", ATTENTION["seeds_untrained"]), ("1 epoch", ATTENTION["seeds_trained"])):
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
            "data": {"image_size": (ATTENTION_SIZE, ATTENTION_SIZE)},
            "model": {"stages": (3,), "latent_channels": 256, "train_encoder": False, "weights": weights},
            "training": {"epochs": ATTENTION["epochs"], "seed": seed},
        },
    )


def random_head(weights: str, seed: int) -> LatentHead:
    """The head of mu as it is before training."""
    torch.manual_seed(seed)
    head = build(config_of(weights, seed).model, image_size=(ATTENTION_SIZE, ATTENTION_SIZE)).mu_head
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
        images = np.stack([resized(image, (ATTENTION_SIZE, ATTENTION_SIZE)) for image in photographs])
        parts.append(encoder(as_images(torch.from_numpy(images)))[3])
    return torch.cat(parts)


def both_signs(name: str, records: Sequence[ImageRecord], patches: Tensor) -> dict[str, Any]:
    """AUROCs of a map and of its negative; an image's score is the mean of the highest 1 % of either."""
    maps = enlarged(patches, (ATTENTION_SIZE, ATTENTION_SIZE))
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
                histogram.update(anomaly_map, mask_at(record, ATTENTION_SIZE))
            elif record.label != ANOMALOUS:
                histogram.update(anomaly_map, np.zeros((ATTENTION_SIZE, ATTENTION_SIZE), dtype=np.bool_))
        results[title] = rounded(histogram.auroc())
    return results


def test_hash(data: Path) -> str:
    """One sha256 for the test images and masks, in the catalog's order."""
    files = [path for record in load_catalog(data).split("test") for path in (record.path, *record.mask_paths)]
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


if __name__ == "__main__":
    main()
