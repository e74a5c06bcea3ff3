"""The anomaly types that a classifier of pretrained features is trained with: none of the self-test's. No torch.

Each takes a scene and gives its image, in grey levels and changed; not rounded, and not cut to 0 and 255.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cavga.arrays import Photograph
from cavga.synthetic.labels import MAX_TRIES, MIN_SIDE, graded_label
from cavga.synthetic.placement import uneven_reach
from cavga.synthetic.primitives import (
    Pixels,
    Plane,
    blurred,
    checker,
    cut_to_area,
    perlin,
    poisson_blend,
    polygon_field,
    resampled,
    shuffled,
    spectral_noise,
    stripes,
    stroke,
)
from cavga.synthetic.scene import Scene, Window, box_of, mixed

Synthesiser = Callable[[Scene, np.random.Generator], Pixels]


def _transplanted(scene: Scene, rng: np.random.Generator) -> Pixels:
    """1 to 4 patches of the other image, resized and put elsewhere without a seam."""
    synthetic = scene.image.copy()
    for _ in range(int(rng.integers(1, 5))):
        size = [int(np.clip((rng.gamma(2, 0.05) + 0.03) * n, 5, 0.45 * n)) if n > 12 else n - 2 for n in scene.shape]
        scale = 2.0 ** rng.uniform(-0.7, 0.7, size=2)
        reach = [int(np.clip(s / z, 3, n)) for s, z, n in zip(size, scale, scene.shape, strict=True)]
        source = scene.draw_source(rng)
        taken = scene.other[_window(source, reach, scene.shape)]
        window = _window(scene.draw_place(rng), size, scene.shape)
        patch = resampled(taken, (size[0], size[1]))
        synthetic[window] = poisson_blend(synthetic[window], patch, is_mixed=rng.uniform() < 0.3)
    return synthetic


def _texture(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A made texture, or the image itself in disorder, more or less opaque in a Perlin outline."""
    cells = (int(2 ** rng.integers(0, 6)), int(2 ** rng.integers(0, 6)))
    _, (y, x) = scene.around(scene.draw_place(rng), float(max(scene.shape)))
    field = perlin(scene.shape, cells, rng) - np.hypot(y, x) * np.float32(rng.uniform(0, 12) / scene.side)
    opacity = cut_to_area(field.astype(np.float32), 0.005 * 50 ** rng.uniform(), rng.uniform(1, 6) * scene.grain)
    window = box_of(opacity > 0)
    before, synthetic = scene.image[window], scene.image.copy()
    texture = _disordered(scene.image, rng)[window] if rng.uniform() < 0.35 else _drawn_texture(before, rng)
    synthetic[window] = mixed(before, texture, rng.uniform(0.15, 1) * opacity[window])
    return synthetic


def _stain(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A film that swallows light, or a veil that adds it: the surface shows through; some have a strong rim."""
    radius = scene.side * 0.02 * 10 ** rng.uniform()
    place = scene.draw_place(rng, 0.5 * radius)
    window, (y, x) = scene.around(place, 2.5 * radius + 2)
    lobes = [(k, 0.6 / k) for k in (2, 3, 4, 5, 7, 9)]
    distance = np.hypot(y, x) / radius / uneven_reach(np.arctan2(y, x), lobes, rng)
    soft = max(rng.uniform(0.05, 0.6), 1 / radius)
    film = np.clip((1 - distance) / soft + 0.5, 0, 1)
    if rng.uniform() < 0.4:
        film *= 1 + rng.uniform(0, 1) * np.exp(-(((distance - 0.85) / 0.12) ** 2))
    film *= 1 + rng.uniform(0, 0.5) * perlin(film.shape, (4, 4), rng)
    depth = 0.03 * 25 ** rng.uniform()
    tint = depth * rng.uniform(0.2, 1, size=scene.image.shape[2:]) ** rng.choice([0, 1])
    kept = np.exp(-film[..., None] * tint)
    before, synthetic = scene.image[window], scene.image.copy()
    synthetic[window] = before * kept if rng.uniform() < 0.5 else 255 - (255 - before) * kept
    return synthetic


def _scratch(scene: Scene, rng: np.random.Generator) -> Pixels:
    """1 to 3 bent strokes side by side, 1 to 4 px wide, that press on more or less."""
    length, heading = scene.side * 0.06 * 12 ** rng.uniform(), rng.uniform(0, 2 * np.pi)
    place = scene.draw_place(rng)
    along = np.array([np.sin(heading), np.cos(heading)])
    across = np.array([along[1], -along[0]])
    share = np.linspace(-0.5, 0.5, max(8, int(length / 4)))
    bend, sway = length * rng.normal(0, 0.15), length * rng.normal(0, 0.03)
    width = rng.uniform(1, 4) * scene.grain
    path = np.array(place) + length * share[:, None] * along
    path += (bend * (share**2 - 0.1) + sway * np.sin(9 * share))[:, None] * across
    opacity = np.zeros(scene.shape, dtype=np.float32)
    for i in range(int(rng.choice([1, 1, 2, 3]))):
        pressure = 0.6 + 0.4 * np.sin(rng.uniform(0, 2 * np.pi) + rng.uniform(2, 12) * share)
        pressure *= np.clip(8 * (0.5 - np.abs(share)), 0, 1)
        line = path + across * i * rng.uniform(1.5, 4) * width
        opacity = np.maximum(opacity, stroke(scene.shape, line, pressure, width))
    colour = scene.colour_off(place, 15 * 8 ** rng.uniform(), rng)
    return mixed(scene.image, colour, opacity)


def _blurred_or_rough(scene: Scene, rng: np.random.Generator) -> Pixels:
    """A place out of focus, sharpened, or rough."""
    radius = scene.side * 0.025 * 8 ** rng.uniform()
    window, (y, x) = scene.around(scene.draw_place(rng, 0.5 * radius), 2 * radius + 5)
    stretch = 2.0 ** rng.uniform(-0.5, 0.5)
    reach = radius * uneven_reach(np.arctan2(y, x), [(2, 0.2), (3, 0.15)], rng)
    opacity = np.clip((reach - np.hypot(y * stretch, x / stretch)) / rng.uniform(1, 6) + 0.5, 0, 1)
    before, synthetic = scene.image[window], scene.image.copy()
    how = rng.integers(3)
    if how == 0:
        after = blurred(before, rng.uniform(1, 4) * scene.grain)
    elif how == 1:
        after = before + rng.uniform(1, 5) * (before - blurred(before, rng.uniform(0.7, 2) * scene.grain))
    else:
        colours = rng.choice([1, before.shape[2]])
        rough = rng.standard_normal((*before.shape[:2], colours), dtype=np.float32)
        rough = blurred(rough, rng.uniform(0.3, 1.5) * scene.grain)
        after = before + 5 * 6 ** rng.uniform() * rough / max(float(rough.std()), 1e-6)
    synthetic[window] = mixed(before, after, opacity)
    return synthetic


def _region(scene: Scene, rng: np.random.Generator) -> Pixels:
    """8 to 45 % of the image with another image's surface, light, contrast or focus."""
    place = scene.draw_place(rng)
    if rng.uniform() < 0.25:
        field = perlin(scene.shape, (int(rng.integers(1, 3)), int(rng.integers(1, 3))), rng)
        field = -field if field[place] < 0 else field
    else:
        field = polygon_field(scene.shape, place, rng)
    opacity = cut_to_area(field, rng.uniform(0.08, 0.45), rng.uniform(0, 8) * scene.grain)
    window, synthetic = box_of(opacity > 0), scene.image.copy()
    after = _other_surface(scene.image[window], scene.other[window], opacity[window], rng, scene.grain)
    synthetic[window] = mixed(scene.image[window], after, opacity[window])
    return synthetic


def _spot(scene: Scene, rng: np.random.Generator) -> Pixels:
    """1 to 3 compact spots of 2 to 12 px: flat dots, or pits with a bright rim on one side."""
    synthetic = scene.image.copy()
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        radius = 6 ** rng.uniform() * scene.grain
        place = scene.draw_place(rng, radius)
        window, (y, x) = scene.around(place, 2.5 * radius + 5)
        stretch = 2.0 ** rng.uniform(-0.5, 0.5)
        y, x = y * stretch, x / stretch
        distance = np.hypot(y, x) / uneven_reach(np.arctan2(y, x), [(2, 0.2), (3, 0.15)], rng)
        colour = scene.colour_off(place, 20 * 6 ** rng.uniform(), rng)
        dot = np.clip((radius - distance) / rng.uniform(1, 2) + 0.5, 0, 1)
        synthetic[window] = mixed(synthetic[window], colour, dot)
        if rng.uniform() < 0.4:
            lit = np.clip(np.cos(np.arctan2(y, x) - rng.uniform(0, 2 * np.pi)) + 0.5, 0, 1)
            rim = lit * np.exp(-(((distance - radius - 1) / max(0.25 * radius, 0.8)) ** 2))
            synthetic[window] += rng.uniform(20, 90) * rim[..., None]
    return synthetic


SUBTLE_TYPES: Mapping[str, Synthesiser] = {
    "transplanted": _transplanted,
    "texture": _texture,
    "stain": _stain,
    "scratch": _scratch,
    "blurred": _blurred_or_rough,
    "region": _region,
    "spot": _spot,
}


def _other_surface(
    before: Pixels, other: Pixels, opacity: Plane, rng: np.random.Generator, grain: float
) -> NDArray[np.floating]:
    """The other's surface, or its own in another light, contrast or focus."""
    weights = opacity[..., None] / max(float(opacity.sum()), 1.0)
    how = rng.integers(4)
    if how == 0:  # half of them keep their brightness: the texture alone is another
        return other + int(rng.integers(2)) * ((before - other) * weights).sum(axis=(0, 1))
    if how == 1:
        return before * float(1 + rng.choice([-1, 1]) * 0.04 * 7.5 ** rng.uniform())
    if how == 2:
        mean = (before * weights).sum(axis=(0, 1))
        return mean + float(rng.choice([rng.uniform(0.3, 0.8), rng.uniform(1.25, 1.8)])) * (before - mean)
    return blurred(before, rng.uniform(1, 3) * grain)


def _drawn_texture(before: Pixels, rng: np.random.Generator) -> Pixels:
    shape = before.shape[:2]
    plane = [spectral_noise, stripes, checker][int(rng.integers(3))](shape, rng)
    plane = (plane - plane.mean()) / max(float(plane.std()), 1e-6)
    colour = rng.uniform(0, 255, size=before.shape[2:])
    mean = before.mean(axis=(0, 1))
    mean = mean + rng.choice([0, rng.uniform()]) * (colour - mean)
    strength = 6 * 10 ** rng.uniform() * rng.uniform(0.4, 1, size=before.shape[2:])
    return (mean + plane[..., None] * strength).astype(np.float32)


def _disordered(image: Pixels, rng: np.random.Generator) -> Pixels:
    """The image with its tiles shuffled, enlarged, or with its colours exchanged."""
    how = rng.integers(3)
    if how == 0:
        return shuffled(image, rng)
    if how == 1:
        height, width = (max(3, round(n * rng.uniform(0.2, 0.6))) for n in image.shape[:2])
        top, left = (int(rng.integers(0, n - cut + 1)) for n, cut in zip(image.shape, (height, width), strict=False))
        return resampled(image[top : top + height, left : left + width], image.shape[:2])
    if image.shape[2] == 1 or rng.uniform() < 0.5:
        return 255 - image[..., rng.permutation(image.shape[2])]
    return np.roll(image, rng.choice([1, 2]), axis=2)


def _window(place: tuple[int, int], size: Sequence[int], shape: tuple[int, int]) -> Window:
    """A window of that size, with the place in its middle as far as the image allows."""
    starts = [int(np.clip(c - n // 2, 0, most - n)) for c, n, most in zip(place, size, shape, strict=True)]
    return slice(starts[0], starts[0] + size[0]), slice(starts[1], starts[1] + size[1])


SUBTLE_NAMES = tuple(SUBTLE_TYPES)
MIN_AREA = 4  # px that have to be noticeable (a label of 0.5 and more)
MIN_MEAN = 0.05  # mean label of the pixels that changed at all


def synthesise_subtle_anomaly(
    image: Photograph, other: Photograph, anomaly_type: str, rng: np.random.Generator
) -> tuple[Photograph, Plane] | None:
    """The image with one anomaly, and how anomalous each pixel is, in [0, 1]; None where MAX_TRIES showed nothing.

    `other` is another good image of the same set and size.
    """
    if min(image.shape[:2]) < MIN_SIDE:
        return None
    scene = Scene(image, other)
    for _ in range(MAX_TRIES):
        after = np.clip(np.rint(SUBTLE_TYPES[anomaly_type](scene, rng)), 0, 255).astype(np.float32)
        label = graded_label(scene.image, after, scene.grain)
        is_labelled = label > 0
        if (label >= 0.5).sum() >= MIN_AREA and label[is_labelled].mean() >= MIN_MEAN:
            return np.broadcast_to(after, image.shape).astype(np.uint8), label
    return None
