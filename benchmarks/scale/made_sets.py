"""Sets of small made photographs, for what counts and times images: what they show does not matter."""

from pathlib import Path

import numpy as np
from PIL import Image

from cavga.config.presets import make_config
from cavga.config.schema import RunConfig

SIDE = 32  # px


def make_photographs(folder: Path, count: int, *, categories: int = 1) -> Path:
    """`count` PNG files of noise in so many folders, unless they are there."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"c{i % categories:03d}" / f"{i:06d}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(90, 160, (SIDE, SIDE), dtype=np.uint8)).save(path)
    return folder


def small_config(*, side: int = SIDE) -> RunConfig:
    """A frozen EfficientNet-Lite0 with its weights, without a trained attention: what fits trains in seconds."""
    return make_config(
        "recommended",
        {
            "data": {"image_size": (side, side)},
            "model": {"variant": "r-u", "encoder": "efficientnet_lite0"},
            "training": {"epochs": 1, "device": "cpu"},
        },
    )
