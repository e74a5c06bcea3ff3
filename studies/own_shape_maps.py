"""Where pixel AUROC of juice bottle is lost when photographs keep their shape: at the border, or in the scale."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.data.catalog import load_catalog
from cavga.data.records import ANOMALOUS
from cavga.images.masks import read_mask
from cavga.images.resize import true_mask_at
from cavga.inference.detector import AnomalyDetector
from cavga.metrics.image import auroc
from studies.rows import rounded

CELL = 8  # px of the input, a patch
BORDER = 2  # patches
LARGE = 0.1  # of a photograph that a mask marks

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]


def map_rows(run: Path, data: Path, name: str) -> list[dict[str, Any]]:
    """Pixel AUROC of a run's test maps at the middle of each patch, with one thing changed in each row."""
    maps, masks, is_bad = _measured(run, data)
    return [
        {"cell": name, "change": change, "pixel_auroc": rounded(auroc(values.ravel(), truth.ravel()))}
        for change, values, truth in changed(maps, masks, is_bad)
    ]


def changed(maps: Maps, masks: Masks, is_bad: Masks) -> list[tuple[str, NDArray[Any], Masks]]:
    """What is compared: maps and masks (photographs, rows, columns), and what was done to them."""
    good = maps[~is_bad]
    inside = np.s_[:, BORDER:-BORDER, BORDER:-BORDER]
    share = masks.mean(axis=(1, 2))
    small, large = ~is_bad | (share < LARGE), ~is_bad | (share >= LARGE)
    return [
        ("as they are", maps, masks),
        (f"without {BORDER} patches at the border", maps[inside], masks[inside]),
        ("each place in standard deviations of good ones", (maps - good.mean(axis=0)) / good.std(axis=0), masks),
        ("each photograph less its mean", maps - maps.mean(axis=(1, 2), keepdims=True), masks),
        (f"good ones, and masks below {LARGE:.0%} of the photograph", maps[small], masks[small]),
        (f"good ones, and masks of {LARGE:.0%} and more", maps[large], masks[large]),
    ]


def _measured(run: Path, data: Path) -> tuple[Maps, Masks, Masks]:
    records = load_catalog(data).split("test")
    detector = AnomalyDetector.load(run)
    middle = np.s_[CELL // 2 :: CELL, CELL // 2 :: CELL]
    maps, masks = [], []
    for record in records:
        (found,) = detector.predict(record.path)
        maps.append(found.anomaly_map[middle])
        truth = np.zeros(found.mask.shape, dtype=np.bool_)
        if record.mask_paths:
            truth = true_mask_at(read_mask(record.mask_paths), found.mask.shape)
        masks.append(truth[middle])
    return np.stack(maps), np.stack(masks), np.array([record.label == ANOMALOUS for record in records])
