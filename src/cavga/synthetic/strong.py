"""Anomalies for a network that starts without weights: as strong as the surface's own contrast. No torch.

The types of cavga.synthetic.subtle are mostly faint, small or without a seam. On features that know the world that is
what is to be learnt. From random weights it is noise, and a few hundred steps find nothing (docs/decisions/0014).
Strengths count in standard deviations of the image's own grey levels.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage

from cavga.arrays import Photograph
from cavga.synthetic.labels import MAX_TRIES, MIN_SIDE, graded_label
from cavga.synthetic.placement import Grid, uneven_reach
from cavga.synthetic.primitives import (
    Pixels,
    Plane,
    blurred,
    cut_to_area,
    dead_leaves,
    perlin,
    resampled,
    spectral_noise,
    stripes,
    stroke,
)
from cavga.synthetic.scene import Scene, box_of, mixed

Synthesiser = Callable[[Scene, np.random.Generator], Pixels]

MAX_ANOMALIES = 3  # on one image
MIN_STD = 6.0  # grey levels that count as a standard deviation where there is hardly any
LABEL_STDS = 0.3  # of change at which the label is 0.5
MIN_AREA = 8  # px with a label of 0.5 and more
MIN_MEAN = 0.3  # mean label of the pixels that changed at all


def synthesise_strong_anomaly(
    image: Photograph, other: Photograph, rng: np.random.Generator
) -> tuple[Photograph, Plane] | None:
    """The image with 1 to MAX_ANOMALIES anomalies, and how anomalous each pixel is; None where nothing showed.

    `other` is another good image of the same set and size.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return None
    scene = Scene(image, other)
    middle = LABEL_STDS * std_of(scene)
    label = np.zeros(scene.shape, dtype=np.float32)
    for _ in range(int(rng.choice([1, 1, 2, MAX_ANOMALIES]))):
        for _ in range(MAX_TRIES):
            anomaly_type = STRONG_NAMES[rng.choice(len(STRONG_NAMES), p=SHARES)]
            after = np.clip(np.rint(STRONG_TYPES[anomaly_type][0](scene, rng)), 0, 255).astype(np.float32)
            grade = graded_label(scene.image, after, scene.grain, middle=middle)
            if (grade >= 0.5).sum() >= MIN_AREA and grade[grade > 0].mean() >= MIN_MEAN:
                scene = Scene(np.broadcast_to(after, image.shape).astype(np.uint8), other)
                label = np.maximum(label, grade)
                break
    return (scene.photograph, label) if label.max() >= 0.5 else None


def std_of(scene: Scene) -> float:
    """Standard deviation of the image's grey levels, and not less than MIN_STD."""
    return max(float(scene.image.std()), MIN_STD)


def _foreign(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A drawn texture, or the other image enlarged or shrunk, with about the contrast of the place it is put."""
    whole = _outline(scene, rng)
    window = box_of(whole > 0)
    before, opacity, synthetic = scene.image[window], whole[window], scene.image.copy()
    texture = _texture(scene, opacity.shape, rng)
    mean, std = _inside(before, opacity)
    own_mean, own_std = _inside(texture, opacity)
    contrast = max(std, 3.0) * 2.0 ** rng.uniform(-1, 0.7)
    texture = (texture - own_mean) / max(own_std, 1e-6) * contrast + mean + rng.normal(0, 0.4) * std
    synthetic[window] = mixed(before, texture, opacity * rng.uniform(0.85, 1))
    return synthetic


def _toned(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A place darker or lighter, with its contrast lowered or raised."""
    opacity = _outline(scene, rng)
    mean, _ = _inside(scene.image, opacity)
    gain = rng.uniform(0.3, 0.6) if rng.uniform() < 0.5 else rng.uniform(1.6, 2.5)
    shift = rng.choice([-1, 1]) * rng.uniform(0.8, 2) * std_of(scene)
    return mixed(scene.image, mean + shift + gain * (scene.image - mean), opacity)


def _softened(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A place out of focus, flattened by a median, or rough."""
    opacity, image = _outline(scene, rng), scene.image
    how = rng.integers(4)
    if how < 2:
        after = blurred(image, rng.uniform(1.8, 4))
    elif how == 2:
        side = int(rng.choice([5, 7, 9]))
        after = ndimage.median_filter(image, (side, side, 1))
    else:
        noise = blurred(rng.standard_normal(image.shape, dtype=np.float32), rng.uniform(0.3, 1.5))
        after = image + noise / max(float(noise.std()), 1e-6) * rng.uniform(0.5, 1.5) * std_of(scene)
    return mixed(image, after, opacity)


def _stroked(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A swaying stroke 2.5 to 6 px wide through which little of the surface shows."""
    length, heading = scene.side * 0.25 * 3 ** rng.uniform(), rng.uniform(0, 2 * np.pi)
    share = np.linspace(-0.5, 0.5, max(8, int(length / 4)))
    along = np.array([np.sin(heading), np.cos(heading)])
    across = np.array([along[1], -along[0]])
    sway = length * (rng.normal(0, 0.2) * (share**2 - 0.1) + rng.normal(0, 0.03) * np.sin(9 * share))
    path = np.array(scene.draw_place(rng)) + length * share[:, None] * along + sway[:, None] * across
    pressure = np.clip(8 * (0.5 - np.abs(share)), 0, 1) * rng.uniform(0.7, 1)
    opacity = stroke(scene.shape, path, pressure, rng.uniform(2.5, 6))
    mean, _ = _inside(scene.image, opacity)
    shift = rng.choice([-1, 1]) * rng.uniform(1, 2.5) * std_of(scene)
    return mixed(scene.image, mean + shift + rng.uniform(0, 0.3) * (scene.image - mean), opacity)


def _spotted(scene: Scene, rng: np.random.Generator) -> Pixels:
    """1 or 2 flat spots of 4 to 20 px."""
    synthetic = scene.image
    for _ in range(int(rng.choice([1, 1, 2]))):
        radius = 2 * 5 ** rng.uniform()
        y, x = _counted_from(scene.draw_place(rng), scene.shape)
        outline = uneven_reach(np.arctan2(y, x), [(2, 0.2), (3, 0.15)], rng)
        opacity = np.clip((radius - np.hypot(y, x) / outline) / rng.uniform(1, 2) + 0.5, 0, 1).astype(np.float32)
        mean, _ = _inside(synthetic, opacity)
        synthetic = mixed(synthetic, mean + rng.choice([-1, 1]) * rng.uniform(0.8, 3) * std_of(scene), opacity)
    return synthetic


STRONG_TYPES: Mapping[str, tuple[Synthesiser, float]] = {  # and the share of each
    "foreign": (_foreign, 0.35),
    "toned": (_toned, 0.12),
    "softened": (_softened, 0.12),
    "stroked": (_stroked, 0.35),
    "spotted": (_spotted, 0.06),
}
STRONG_NAMES = tuple(STRONG_TYPES)
SHARES = [share for _, share in STRONG_TYPES.values()]


def _outline(scene: Scene, rng: np.random.Generator) -> Plane:
    """Opacity of a cloud, a crooked box or an uneven disc that covers 0.4 to 6.4 % of the image."""
    area, feather = 0.004 * 16 ** rng.uniform(), rng.uniform(1, 5)
    y, x = _counted_from(scene.draw_place(rng), scene.shape)
    how = rng.integers(3)
    if how == 0:
        cells = int(2 ** rng.integers(1, 5))
        steepness = 0.32 * rng.uniform(0.5, 2) / (scene.side * np.sqrt(area))
        field = perlin(scene.shape, (cells, cells), rng) - steepness * np.hypot(y, x)
    elif how == 1:
        turn, stretch = rng.uniform(0, np.pi), 2.0 ** rng.uniform(-1.2, 1.2)
        down, right = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
        field = 0.02 * scene.side * perlin(scene.shape, (4, 4), rng)
        field = field - np.maximum(np.abs(down) * stretch, np.abs(right) / stretch)
    else:
        field = -np.hypot(y, x) / uneven_reach(np.arctan2(y, x), [(2, 0.35), (3, 0.2), (5, 0.1)], rng)
    return cut_to_area(field.astype(np.float32), area, feather)


def _texture(scene: Scene, shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    """Noise, stripes, leaves, or the other image enlarged or shrunk, of a shape and with the image's channels."""
    how, size = rng.uniform(), (shape[0], shape[1])
    if how < 0.65:
        draw = spectral_noise if how < 0.15 else stripes if how < 0.25 else dead_leaves
        # As drawn their edges are sharper than a lens makes them, and would be known by that alone.
        drawn = blurred(draw(size, rng)[..., None], rng.uniform(0.3, 1.2))
        return np.repeat(drawn, scene.image.shape[2], axis=2)
    zoom = rng.uniform(1.4, 2.8) if how < 0.85 else rng.uniform(0.4, 0.7)
    cut = [int(np.clip(round(side / zoom), 1, n)) for side, n in zip(size, scene.shape, strict=True)]
    top, left = (int(rng.integers(n - c + 1)) for n, c in zip(scene.shape, cut, strict=True))
    return resampled(scene.other[top : top + cut[0], left : left + cut[1]], size)


def _inside(pixels: Pixels, opacity: Plane) -> tuple[Pixels, float]:
    """Mean of every channel and the standard deviation of all, weighted by the opacity."""
    weights = opacity[..., None] / max(float(opacity.sum()), 1e-6)
    mean = (pixels * weights).sum(axis=(0, 1))
    return mean, float(np.sqrt((((pixels - mean) ** 2) * weights).sum(axis=(0, 1)).mean()))


def _counted_from(place: tuple[int, int], shape: tuple[int, int]) -> tuple[Grid, Grid]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    return y - place[0], x - place[1]
