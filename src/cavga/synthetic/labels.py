"""Anomalies made on good training images, and how anomalous every pixel of them is. No torch.

Like NSA (arXiv:2109.15222) the label is a logistic of how much the grey levels changed, so that what nobody
sees counts as normal. NSA sets the logistic per data set; here one stands for all.
"""

import numpy as np
from scipy import ndimage

from cavga.synthetic.primitives import Pixels, Plane, blurred

MIN_SIDE = 8  # px of an image
MAX_TRIES = 8
LABEL_MIDDLE = 6.5  # grey levels of change at which the label is 0.5: 0.04 at 2.5, 0.94 at 10
LABEL_SLOPE = 0.8  # per grey level
REACH = 4  # grains


def graded_label(before: Pixels, after: Pixels, grain: float, *, middle: float = LABEL_MIDDLE) -> Plane:
    """A logistic of the change in grey levels, 0.5 at `middle` and not below LABEL_MIDDLE; 0 where nothing changed.

    The change is smoothed over `grain` px, or over REACH times as much of what changed if that is more: so a
    texture that took another's place leaves few holes, and a thin line is not averaged away.
    """
    change = after - before
    is_changed = _largest(np.abs(change)) > 0
    label = np.zeros(is_changed.shape, dtype=np.float32)
    if not is_changed.any():
        return label
    margin = int(np.ceil(4 * grain))
    rows, columns = (np.flatnonzero(is_changed.any(axis=axis)) for axis in (1, 0))
    window = tuple(slice(max(0, at[0] - margin), at[-1] + margin + 1) for at in (rows, columns))
    is_inside = is_changed[window].astype(np.float32)
    is_inside = ndimage.minimum_filter(ndimage.maximum_filter(is_inside, 5), 5)
    fine = _largest(np.abs(blurred(change[window], 0.6 * grain)))
    wide = 2 * round(REACH * grain) + 1
    coarse = ndimage.uniform_filter(fine * is_inside, wide, mode="constant")
    coarse /= np.maximum(ndimage.uniform_filter(is_inside, wide, mode="constant"), wide**-2)
    amount = np.maximum(blurred(fine[..., None], grain)[..., 0], coarse)
    steepness = LABEL_SLOPE * LABEL_MIDDLE
    nothing = 1 / (1 + np.exp(steepness))
    grade = 1 / (1 + np.exp(-steepness * (amount / max(middle, LABEL_MIDDLE) - 1)))
    label[window] = np.clip((grade - nothing) / (1 - nothing), 0, 1) * is_inside
    return label


def _largest(pixels: Pixels) -> Plane:
    """Of the channels; numpy is slow along so short an axis."""
    largest = pixels[..., 0]
    for c in range(1, pixels.shape[2]):
        largest = np.maximum(largest, pixels[..., c])
    return largest
