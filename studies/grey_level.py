"""What L_R is of a reconstruction that is one grey level: what the L_R of `paper` has to be held against.

python -m studies.grey_level ROOT

L_R is a cross-entropy of grey values, so even an exact reconstruction has one: the entropy of the pixels. Writes
benchmarks/results/grey_level.jsonl: of each set's normal training images, at the size of its table, L_R of the one
level that is best for all images, of each image's own mean, and of an exact reconstruction.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cavga.arrays import Floats
from cavga.benchmark.experiments.experiment import SCREW, TILE
from cavga.data.catalog import load_catalog
from cavga.images.decode import read_image
from cavga.images.resize import resized
from studies.rows import rounded, write_rows

RESULT = "grey_level"
SETS = ((TILE, 128), (TILE, 256), (SCREW, 256))  # of Table 8, and of Table 3


def main() -> None:
    """Measure every set, and write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    root = parser.parse_args().root
    write_rows(RESULT, [row_of(root, data, size) for data, size in SETS])


def row_of(root: Path, data: str, size: int) -> dict[str, Any]:
    """The three cross-entropies of a set."""
    records = [record for record in load_catalog(root / data).records if record.split == "train" and not record.label]
    images = [resized(read_image(record.path), (size, size)) / 255 for record in records]
    means = np.array([image.mean() for image in images])
    levels = {
        "one_level": float(entropy(means.mean())),
        "own_level": float(entropy(means).mean()),
        "exact": float(np.mean([entropy(image).mean() for image in images])),
    }
    shown = {name: rounded(level) for name, level in levels.items()}
    return {"data": data, "size": size, "images": len(images), **shown}


def entropy(values: Floats) -> Floats:
    """-(p ln p + (1 - p) ln(1 - p)) of each value, 0 at black and at white."""
    inside = np.clip(values, 1e-12, 1 - 1e-12)
    return -(inside * np.log(inside) + (1 - inside) * np.log(1 - inside))


if __name__ == "__main__":
    main()
