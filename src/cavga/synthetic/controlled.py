"""Anomalies made on photographs of good parts, to ask a model what it would find. No torch.

Unlike the textures' defects (cavga.benchmark.textures), nothing foreign is put in and nothing is painted over: what is
there is bent, turned, torn, smoothed away, tinted or made to shine. They are synthetic; real defects differ.

`size` is the diameter as a share of the image's side (the root of its area). `contrast` is a strength: the
peak of a change of brightness as a multiple of the standard deviation of the grey levels round the place;
for what is bent or turned, how far; for what is missing, how much of it (from 2 on all). Where the picture
did not change noticeably (MIN_CHANGE) there is no anomaly, so the mask ends there and an unseen one is drawn
again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from cavga.arrays import Mask, Photograph
from cavga.synthetic.placement import Grid, draw_place, grain_of, is_grey, local_structure, uneven_reach

SIZES = (0.03, 0.06, 0.12, 0.25)
CONTRASTS = (1.0, 2.0, 4.0)
MIN_CHANGE = 4.0  # grey levels, averaged over a few pixels: less nobody sees
MIN_SHARE = 0.1  # of the anomaly's disc has to change as much
MIN_SIDE = 8  # px of a photograph
MIN_RADIUS = 2.0  # px
MAX_TRIES = 25
LOBES = ((2, 0.25), (3, 0.12), (5, 0.08))  # of an uneven outline

Patch = NDArray[np.float64]  # h x w x 3


@dataclass(frozen=True, eq=False)
class Spot:
    """Where an anomaly goes: rows and columns of its patch counted from its centre, in pixels."""

    y: Grid
    x: Grid
    radius: float
    grain: float
    """Pixels: what is finer than this does not count."""
    std: float
    """Standard deviation of the grey levels round it."""
    is_grey: bool

    @property
    def distance(self) -> Grid:
        """From the centre; 1 at the radius."""
        return np.hypot(self.y, self.x) / self.radius


def synthesise_controlled_anomaly(
    photograph: Photograph, anomaly_type: str, *, size: float, contrast: float, rng: np.random.Generator
) -> tuple[Photograph, Mask] | None:
    """The photograph with one anomaly, and where; None where MAX_TRIES draws changed nothing noticeable."""
    height, width = photograph.shape[:2]
    if min(height, width) < MIN_SIDE:
        return None
    side = float(np.sqrt(height * width))
    radius = min(max(size * side / 2, MIN_RADIUS), 0.45 * min(height, width))
    structure, grain, has_no_colour = local_structure(photograph, size), grain_of((height, width)), is_grey(photograph)
    for _ in range(MAX_TRIES):
        centre = draw_place(structure, (height, width), radius, rng)
        window, spot = _spot(photograph, centre, radius, grain=grain, is_grey=has_no_colour)
        before = photograph[window].astype(np.float64)
        after = np.clip(np.rint(CONTROLLED_TYPES[anomaly_type](before, spot, contrast, rng)), 0, 255)
        changed = _noticeable(after - before, spot)
        if changed.sum() >= max(6.0, MIN_SHARE * np.pi * radius**2):
            synthetic, mask = photograph.copy(), np.zeros((height, width), dtype=np.bool_)
            synthetic[window], mask[window] = after.astype(np.uint8), changed
            return synthetic, mask
    return None


def _bulge(patch: Patch, spot: Spot, contrast: float, rng: np.random.Generator) -> Patch:
    """The surface seen through a lens, or pinched together."""
    distance = np.clip(spot.distance, 1e-6, 1.0)
    power = 2.0 ** (contrast / 2 * rng.choice([-1.0, 1.0]))
    scale = 1 + (distance ** (power - 1) - 1) * (1 - distance**2)
    return _sampled(patch, spot.y * (scale - 1), spot.x * (scale - 1))


def _turned(patch: Patch, spot: Spot, contrast: float, rng: np.random.Generator) -> Patch:
    """A round piece turned by 22.5 degrees times the contrast, with a soft edge."""
    angle = np.pi / 8 * contrast * rng.choice([-1.0, 1.0])
    turned_y = spot.y * np.cos(angle) - spot.x * np.sin(angle)
    turned_x = spot.y * np.sin(angle) + spot.x * np.cos(angle)
    inside = spot.distance < 1
    turned = _sampled(patch, np.where(inside, turned_y - spot.y, 0), np.where(inside, turned_x - spot.x, 0))
    return _blended(patch, turned, np.clip((1 - spot.distance) * max(spot.radius / 3, 4) / 2, 0, 1))


def _missing(patch: Patch, spot: Spot, contrast: float, rng: np.random.Generator) -> Patch:
    """A part filled in smoothly from its rim; above contrast 2 the rim is lit from one side, as a hollow's."""
    outline = _outline(spot, rng)
    filled = _filled(patch, outline >= 1, spot.radius)
    inside = np.clip((1 - outline) * spot.radius / 2, 0, 1)
    away = (outline - 0.9) * spot.radius / max(0.15 * spot.radius, spot.grain)
    light = np.cos(np.arctan2(spot.y, spot.x) - rng.uniform(0, 2 * np.pi)) * np.exp(-(away**2))
    lit = max(contrast - 2, 0) / 2 * spot.std * light
    return _blended(patch, filled, min(contrast / 2, 1.0) * inside) + lit[..., None]


def _crack(patch: Patch, spot: Spot, contrast: float, rng: np.random.Generator) -> Patch:
    """A branching line at which the surface is torn: both flanks are pulled apart, and shaded as a groove is."""
    distance = _blurred(ndimage.distance_transform_edt(~_branches(spot, rng)), 1.0)
    away_y, away_x = np.gradient(distance)  # points away from the line
    reach = max(0.07 * spot.radius, 1.25 * spot.grain)
    depth = np.exp(-distance / reach) * np.clip(2 * (1.2 - spot.distance), 0, 1)
    pull = contrast / 2 * reach * depth
    torn = _sampled(patch, away_y * pull, away_x * pull)
    light = rng.uniform(0, 2 * np.pi)
    flank = depth * (away_y * np.sin(light) + away_x * np.cos(light))
    return torn + (contrast * spot.std * flank)[..., None]


def _cast(patch: Patch, spot: Spot, contrast: float, rng: np.random.Generator) -> Patch:
    """Light of another colour (in a grey photograph: brightness), with a gradient and a soft edge."""
    colour = np.ones(3) if spot.is_grey else rng.uniform(-1, 1, size=3)
    colour *= rng.choice([-1.0, 1.0]) / np.abs(colour).max()
    soft = np.clip(1 - _outline(spot, rng) ** 2, 0, 1)
    heading = rng.uniform(0, 2 * np.pi)
    ramp = (spot.y * np.sin(heading) + spot.x * np.cos(heading)) / spot.radius
    strength = soft * np.clip(1 + 0.5 * ramp, 0, None)
    return patch + contrast * spot.std * (strength / max(strength.max(), 1e-6))[..., None] * colour


def _glints(patch: Patch, spot: Spot, contrast: float, rng: np.random.Generator) -> Patch:
    """A cluster of small bright dots, as of grease or dust that shines."""
    light = np.zeros_like(spot.y)
    for _ in range(int(rng.integers(5, 13))):
        angle, away = rng.uniform(0, 2 * np.pi), spot.radius * 0.85 * np.sqrt(rng.uniform())
        width = max(spot.radius * rng.uniform(0.08, 0.18), 0.7)
        dot = np.hypot(spot.y - away * np.sin(angle), spot.x - away * np.cos(angle))
        light = np.maximum(light, rng.uniform(0.7, 1) * np.exp(-((dot / width) ** 2)))
    return patch + contrast * spot.std * light[..., None]


CONTROLLED_TYPES: Mapping[str, Callable[[Patch, Spot, float, np.random.Generator], Patch]] = {
    "bulge": _bulge,
    "turned": _turned,
    "missing": _missing,
    "crack": _crack,
    "cast": _cast,
    "glints": _glints,
}
CONTROLLED_NAMES = tuple(CONTROLLED_TYPES)


def _spot(
    photograph: Photograph, centre: tuple[int, int], radius: float, *, grain: float, is_grey: bool
) -> tuple[tuple[slice, slice], Spot]:
    """The window that an anomaly may change, and the place in it."""
    margin = int(np.ceil(1.5 * radius)) + 4
    window, around = (
        tuple(slice(max(0, c - reach), min(n, c + reach + 1)) for c, n in zip(centre, photograph.shape, strict=False))
        for reach in (margin, max(margin, round(np.sqrt(photograph[..., 0].size) / 16)))
    )
    y, x = np.mgrid[window].astype(np.float64)
    std = float(photograph[around].mean(axis=2).std())
    return (window[0], window[1]), Spot(y - centre[0], x - centre[1], radius, grain, std, is_grey)


def _noticeable(change: Patch, spot: Spot) -> Mask:
    """Where the change can be seen, small gaps closed."""
    averaged = np.abs(ndimage.gaussian_filter(change, (spot.grain, spot.grain, 0))).max(axis=2)
    seen = ndimage.gaussian_filter(averaged, spot.grain) >= MIN_CHANGE
    seen &= np.abs(change).max(axis=2) >= 1  # the average reaches beyond what changed
    steps = max(1, round(0.12 * spot.radius))
    closed = ndimage.binary_closing(np.pad(seen, steps), iterations=steps)[steps:-steps, steps:-steps]
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=np.bool_)


def _sampled(patch: Patch, shift_y: Grid, shift_x: Grid) -> Patch:
    """Every pixel taken from `shift` pixels away; what does not move keeps its value."""
    rows, columns = np.mgrid[: patch.shape[0], : patch.shape[1]]
    where = np.stack([rows + shift_y, columns + shift_x])
    return np.stack(
        [ndimage.map_coordinates(c, where, order=3, mode="mirror") for c in np.moveaxis(patch, -1, 0)], axis=-1
    )


def _blended(patch: Patch, other: Patch, opacity: Grid) -> Patch:
    return patch + opacity[..., None] * (other - patch)


def _blurred(values: Grid, sigma: float) -> Grid:
    return ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=4)


def _filled(patch: Patch, is_known: Mask, radius: float) -> Patch:
    """The patch continued smoothly from what is known of it; worked out small, as it has no detail."""
    scale = min(1.0, 24 / radius)
    known = _zoomed(is_known.astype(np.float64), scale)
    channels = [_zoomed(channel, scale) * known for channel in np.moveaxis(patch, -1, 0)]
    total, weight = np.zeros((3, *known.shape)), np.zeros_like(known)
    for share in (0.1, 0.25, 0.6):  # near the rim the near pixels count, far from it the far ones
        sigma = max(share * scale * radius, 0.7)
        weight += _blurred(known, sigma) * share**-4
        total += np.stack([_blurred(channel, sigma) for channel in channels]) * share**-4
    small = total / np.maximum(weight, 1e-12)
    factors = np.array(is_known.shape) / known.shape
    return np.stack([ndimage.zoom(c, factors, order=1, mode="nearest", grid_mode=True) for c in small], axis=-1)


def _zoomed(values: Grid, scale: float) -> Grid:
    return values if scale == 1 else ndimage.zoom(values, scale, order=1, mode="nearest", grid_mode=True)


def _outline(spot: Spot, rng: np.random.Generator) -> Grid:
    """The distance from the centre, 1 on an uneven, oblong outline of about the spot's radius."""
    return spot.distance / uneven_reach(np.arctan2(spot.y, spot.x), LOBES, rng)


def _branches(spot: Spot, rng: np.random.Generator) -> Mask:
    """A walk across the spot with branches, one pixel wide."""
    picture = Image.new("1", spot.y.shape[::-1])
    pen, top, left = ImageDraw.Draw(picture), -spot.y[0, 0], -spot.x[0, 0]
    first = rng.uniform(0, 2 * np.pi)
    ends = [(0.0, 0.0, first, 1.0), (0.0, 0.0, first + np.pi + rng.normal(0, 0.3), 1.0)]
    step = max(spot.radius / 6, 1.0)
    while ends:
        y, x, heading, to_go = ends.pop()
        while to_go > 0:
            heading += rng.normal(0, 0.35)
            end_y, end_x = y + step * np.sin(heading), x + step * np.cos(heading)
            pen.line([(round(x + left), round(y + top)), (round(end_x + left), round(end_y + top))], fill=1)
            y, x, to_go = end_y, end_x, to_go - step / spot.radius
            if to_go > 0.3 and rng.uniform() < 0.2:
                ends.append((y, x, heading + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1), to_go * 0.6))
    return np.asarray(picture, dtype=np.bool_)
