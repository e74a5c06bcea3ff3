"""Write docs/images/demo.png from a demo's runs: per paper, the defective test image of median score.

python -m docs.generate.picture runs/demo
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cavga.data.catalog import load_catalog
from cavga.data.records import ANOMALOUS
from cavga.demo.papers import PAPERS
from cavga.images.decode import read_image
from cavga.images.masks import read_mask
from cavga.inference.detector import AnomalyDetector
from cavga.rendering.heatmaps import panels
from cavga.rendering.scale import picture_scale

SIDE = 192  # px a panel
GAP = 6


def main(demo: Path) -> None:
    """One row per paper: photograph with the true defect outlined, overlay, anomaly map."""
    rows = [np.hstack(_spaced(paper_panels(demo, paper))) for paper in PAPERS]
    picture = np.vstack([_with_gap(row) for row in rows])
    Image.fromarray(picture).save(Path(__file__).parents[1] / "images" / "demo.png", optimize=True)


def paper_panels(demo: Path, paper: str) -> list[np.ndarray]:
    """The three panels of the paper's defective image of median score."""
    detector = AnomalyDetector.load(demo / paper)
    records = [r for r in load_catalog(demo / "data" / paper).split("test") if r.label == ANOMALOUS]
    predictions = list(detector.predict([record.path for record in records]))
    chosen = int(np.argsort([p.score for p in predictions])[len(predictions) // 2])
    record, prediction = records[chosen], predictions[chosen]
    photograph, mask = read_image(record.path), read_mask(record.mask_paths)
    found, scale = prediction.is_anomalous, picture_scale(detector)
    return list(panels(photograph, prediction.anomaly_map, scale, mask, is_anomalous=found, longer_side=SIDE))


def _spaced(pictures: list[np.ndarray]) -> list[np.ndarray]:
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    return [part for picture in pictures for part in (picture, gap)][:-1]


def _with_gap(row: np.ndarray) -> np.ndarray:
    return np.vstack([row, np.full((GAP, row.shape[1], 3), 255, dtype=np.uint8)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
