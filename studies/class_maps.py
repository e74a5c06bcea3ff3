"""Both classes' attention on the test images of finished runs: correlation before the sigmoid, and means.

python -m studies.class_maps OUTPUT ROOT     # OUTPUT of `cavga benchmark table8` and `variants`, ROOT their data
"""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from cavga.benchmark.experiments.experiment import TILE, Experiment
from cavga.data.catalog import load_catalog
from cavga.images.decode import read_image
from cavga.inference.detector import AnomalyDetector
from studies.rows import write_rows

RESULT = "class_maps"
RUNS = (
    ("table8", "c8: r-w, conv z, L_cga"),
    ("table8", "c8, map of the probability"),
    ("table8", "c7: r-w, conv z"),
    ("table8", "c6: r-w, flattened z, L_cga"),
    ("table8", "c5: r-w, flattened z"),
    ("variants", "r-w, recommended"),
)


def main() -> None:
    """Measure every run that is there and write the file."""
    output, root = Path(sys.argv[1]), Path(sys.argv[2])
    rows = []
    for table, name in RUNS:
        for seed in (0, 1, 2):
            run = output / table / Experiment(name, TILE, seed=seed).folder
            if (run / "model.json").is_file():
                rows.append({"cell": name, "seed": seed, **measure(run, root / TILE)})
    write_rows(RESULT, rows, {})
    print(json.dumps(rows, indent=1))


def measure(run: Path, data: Path) -> dict[str, Any]:
    """Means over the test images of one run."""
    detector = AnomalyDetector.load(run)
    correlations: list[float] = []
    means: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    for record in load_catalog(data).split("test"):
        maps = detector.class_attention(read_image(record.path))
        normal, anomalous = (_logit(attention) for attention in maps)
        if normal.std() > 0 and anomalous.std() > 0:
            correlations.append(float(np.corrcoef(normal, anomalous)[0, 1]))
        means[record.label or 0].append((float(maps[0].mean()), float(maps[1].mean())))
    return {
        "correlation": round(mean(correlations), 4) if correlations else None,
        **{f"normal_of_{who}": round(mean(n for n, _ in means[k]), 4) for k, who in ((0, "normal"), (1, "bad"))},
        **{f"anomalous_of_{who}": round(mean(a for _, a in means[k]), 4) for k, who in ((0, "normal"), (1, "bad"))},
    }


def _logit(attention: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The map before the sigmoid."""
    clipped = attention.astype(np.float64).clip(1e-12, 1 - 1e-7).ravel()
    return np.log(clipped) - np.log1p(-clipped)


if __name__ == "__main__":
    main()
