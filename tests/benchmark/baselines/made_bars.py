"""Images of bars, and small networks that learn them in seconds."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from cavga.config.backbones import DCGAN_STAGES
from cavga.config.presets import make_config


def config(**training):
    model = {"variant": "d-u", "weights": "none", "decoder_width": 8}
    return make_config(
        "recommended",
        {"data": {"image_size": (32, 32)}, "model": model, "training": {"epochs": 1, "device": "cpu", **training}},
    )


def bars(count, *, seed=0):
    """A bright upright bar near the middle, of another place and brightness in each image."""
    rng = np.random.default_rng(seed)
    images = rng.integers(20, 40, (count, 32, 32, 3), dtype=np.uint8)
    for image in images:
        left = rng.integers(11, 15)
        image[4:28, left : left + 6] = rng.integers(180, 220)
    return images


def lying(count, *, seed=1):
    """Bars that lie: every grey level as often as in those that stand, so an untrained network cannot tell them."""
    return np.ascontiguousarray(bars(count, seed=seed).transpose(0, 2, 1, 3))


@contextmanager
def eighth_of_dcgan():
    """An eighth of DC-GAN's channels, to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        for number, stage in list(DCGAN_STAGES.items()):
            patch.setitem(DCGAN_STAGES, number, replace(stage, channels=stage.channels // 8))
        yield
