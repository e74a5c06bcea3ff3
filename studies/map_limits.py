"""What a coarse map could reach at best, and what attention and plain feature distances reach: three cheap tests.

python benchmarks/map_limits.py ROOT WEIGHTS    # ROOT as in README.md, WEIGHTS of ResNet-18 to layer3 at least

1. The IoU of an oracle: a map of N x N cells that knows each cell's anomalous share, cut at the best threshold.
2. The AUROC of the paper's attention read both ways: low attention is anomalous, or high attention is.
3. The control: how far a position's features are from their mean over the training images.

Written to results/map_limits.json. The first test needs no torch.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.data.manifest import sha256_of
from cavga.data.records import ImageRecord
from cavga.images.decode import read_mask
from cavga.metrics.pixel import PerImageCounts, PixelHistogram

RESULT = Path(__file__).parent / "results" / "map_limits.json"
SETS = ("magnetic_tile", "mvtec_ad/screw", "mvtec_loco/juice_bottle")
GRIDS = (8, 16, 32, 56)  # cells a side
SIZE = 256  # of the masks, px

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


def main() -> None:
    """Measure every set and write the file."""
    root, weights = Path(sys.argv[1]), sys.argv[2]
    grids = [row for name in SETS for row in grid_rows(name, root / name)]
    from attention_signs import SETTINGS, sign_rows  # torch
    from cavga.training.run_folder import versions

    signs = [row for name in SETS for row in sign_rows(name, root / name, weights)]
    content = {
        "machine": platform.machine(),
        "versions": dict(versions()),
        "data_sha256": {name: test_hash(root / name) for name in SETS},
        "mask_size": SIZE,
        "grids": grids,
        "attention": SETTINGS,
        "signs": signs,
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def grid_rows(name: str, data: Path) -> list[dict[str, Any]]:
    """The oracle's IoU on one set and, where there are several, on each of its defect types by itself."""
    masked = [record for record in load_catalog(data).split("test") if record.mask_paths]
    rows = []
    for title, records in by_type(name, masked):
        masks = [mask_at(record, SIZE) for record in records]
        masks = [mask for mask in masks if mask.any()]  # a few pixels can vanish when resized
        share = float(np.mean([mask.mean() for mask in masks]))
        for cells in GRIDS:
            row = {"set": title, "images": len(masks), "anomalous_share": round(share, 5), "cells": cells}
            rows.append(row | oracle_iou(masks, cells))
            print(rows[-1], flush=True)
    return rows


def by_type(name: str, records: Sequence[ImageRecord]) -> Iterator[tuple[str, list[ImageRecord]]]:
    """The set, then each of its defect types if it has several."""
    types = sorted({record.defect_type for record in records if record.defect_type})
    yield name, list(records)
    for defect_type in types if len(types) > 1 else ():
        yield f"{name}, {defect_type}", [record for record in records if record.defect_type == defect_type]


def mask_at(record: ImageRecord, size: int) -> Mask:
    """The mask resized by nearest, as the evaluation does it."""
    resized = Image.fromarray(read_mask(record.mask_paths)).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=np.bool_)


def oracle_iou(masks: Sequence[Mask], cells: int) -> dict[str, float]:
    """Best IoU over all pixels at once and as the mean per image, each at its one best threshold.

    `constant`: cells not interpolated. There no map does better over all pixels at once, since the best union
    of cells takes those whose anomalous share is above a threshold. Interpolated maps are not proven best.
    """
    size = masks[0].shape[0]
    average = cell_average(size, cells)
    results = {}
    for kind, enlarge in (("bilinear", bilinear(cells, size)), ("constant", repeated(cells, size))):
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
    """The mask averaged over cells and enlarged again: `operator` does both along one axis."""
    return operator @ mask.astype(np.float32) @ operator.T


def cell_average(size: int, cells: int) -> NDArray[np.float64]:
    """(cells, size): the share of each pixel in each cell, rows summing to 1; cells may cut pixels."""
    edges = np.arange(cells + 1) * size / cells
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return overlap.clip(0) * cells / size


def bilinear(cells: int, size: int) -> NDArray[np.float64]:
    """(size, cells): bilinear interpolation, corners not aligned, borders repeated, as the detector enlarges maps."""
    centres = ((np.arange(size) + 0.5) * cells / size - 0.5).clip(0, cells - 1)
    return (1 - np.abs(centres[:, None] - np.arange(cells))).clip(0)


def repeated(cells: int, size: int) -> NDArray[np.float64]:
    """(size, cells): every pixel takes the cell that its centre lies in."""
    chosen = ((np.arange(size) + 0.5) * cells / size).astype(np.intp)
    return np.eye(cells)[chosen]


def test_hash(data: Path) -> str:
    """One sha256 for the test images and masks, in the catalog's order."""
    files = [path for record in load_catalog(data).split("test") for path in (record.path, *record.mask_paths)]
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


if __name__ == "__main__":
    main()
