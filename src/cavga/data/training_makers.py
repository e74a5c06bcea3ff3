"""Anomalies made on good training images, and how anomalous every pixel of them is. No torch.

Like NSA (arXiv:2109.15222) the label is a logistic of how much the grey levels changed, so that what nobody
sees counts as normal. NSA sets the logistic per data set; here one stands for all.
"""

import numpy as np
from scipy import ndimage

from cavga.data.places import Photograph, local_structure
from cavga.data.procedural import Pixels, Plane, blurred
from cavga.data.training_kinds import TRAINING_MAKERS, Scene

TRAINING_KINDS = tuple(TRAINING_MAKERS)
MIN_SIDE = 8  # px of an image
MAX_TRIES = 8
MIN_AREA = 4  # px that have to be noticeable (a label of 0.5 and more)
LABEL_MIDDLE = 6.5  # grey levels of change at which the label is 0.5: 0.04 at 2.5, 0.94 at 10
LABEL_SLOPE = 0.8  # per grey level
REACH = 4
STRUCTURE_SHARE = 0.06  # of the side, round a place
FLOOR_QUANTILE = 0.2  # of the local structure: less is taken for background


def make_training_anomaly(
    image: Photograph, other: Photograph, kind: str, rng: np.random.Generator
) -> tuple[Photograph, Plane] | None:
    """The image with one anomaly, and per pixel how anomalous it is, in [0, 1]; None where nobody would see any.

    `other` is another good image of the same set and size.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return None
    scene = _scene(image, other)
    for _ in range(MAX_TRIES):
        after = np.clip(np.rint(TRAINING_MAKERS[kind](scene, rng)), 0, 255).astype(np.float32)
        label = graded_label(scene.image, after, scene.grain)
        if (label >= 0.5).sum() >= MIN_AREA:
            return np.broadcast_to(after, image.shape).astype(np.uint8), label
    return None


def graded_label(before: Pixels, after: Pixels, grain: float) -> Plane:
    """A logistic of the change in grey levels, smoothed over `grain` px or over REACH times as much; else 0.

    The wider mean, of what changed only, closes the gaps of a texture that took another's place.
    """
    change = after - before
    is_changed = np.asarray(change.any(axis=2))
    label = np.zeros(is_changed.shape, dtype=np.float32)
    if not is_changed.any():
        return label
    margin = int(np.ceil(4 * grain))
    rows, columns = (np.flatnonzero(is_changed.any(axis=axis)) for axis in (1, 0))
    window = tuple(slice(max(0, at[0] - margin), at[-1] + margin + 1) for at in (rows, columns))
    is_inside = is_changed[window].astype(np.float32)
    is_inside = ndimage.minimum_filter(ndimage.maximum_filter(is_inside, 5), 5)
    fine = np.abs(blurred(change[window], 0.6 * grain)).max(axis=2, keepdims=True)
    wide = 2 * round(REACH * grain) + 1
    coarse = ndimage.uniform_filter(fine[..., 0] * is_inside, wide, mode="constant")
    coarse /= np.maximum(ndimage.uniform_filter(is_inside, wide, mode="constant"), wide**-2)
    amount = np.maximum(blurred(fine, grain)[..., 0], coarse)
    nothing = 1 / (1 + np.exp(LABEL_SLOPE * LABEL_MIDDLE))
    grade = 1 / (1 + np.exp(-LABEL_SLOPE * (amount - LABEL_MIDDLE)))
    label[window] = np.clip((grade - nothing) / (1 - nothing), 0, 1) * is_inside
    return label


def _scene(image: Photograph, other: Photograph) -> Scene:
    """In grey levels with as many channels as the image has colours."""
    before, donor = image.astype(np.float32), other.astype(np.float32)
    if (image == image[..., :1]).all():
        before, donor = before[..., :1], donor.mean(axis=2, keepdims=True)
    structures = [local_structure(photograph, STRUCTURE_SHARE) for photograph in (image, other)]
    above = [np.maximum(s - np.quantile(s, FLOOR_QUANTILE), 0) for s in structures]
    return Scene(before, donor, above[0], above[1])
