"""What synthetic anomalies are drawn with: noise, grains, outlines, strokes and a seamless paste. No torch."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import fft, ndimage

Plane = NDArray[np.float32]  # h x w
Pixels = NDArray[np.float32]  # h x w x 1 or 3, grey levels


def perlin(shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Gradient noise (Perlin 1985) within about -1 and 1, with `cells` bumps down and across.

    Worked out at half the size where the bumps are wide enough.
    """
    if all(n >= 16 * c for n, c in zip(shape, cells, strict=True)):
        half = perlin((-(-shape[0] // 2), -(-shape[1] // 2)), cells, rng)
        return np.asarray(Image.fromarray(half).resize(shape[::-1], Image.Resampling.BICUBIC))
    angle = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    axes = [np.arange(n, dtype=np.float32) * (c / n) for n, c in zip(shape, cells, strict=True)]
    (row, column), (y, x) = ([a.astype(np.intp) for a in axes], [a % 1 for a in axes])
    noise = np.zeros(shape, dtype=np.float32)
    for down in (0, 1):
        fade_y = _fade(y if down else 1 - y)[:, None]
        for right in (0, 1):
            corner = angle[row + down][:, column + right]
            slope = np.sin(corner) * (y - down)[:, None] + np.cos(corner) * (x - right)
            noise += fade_y * _fade(x if right else 1 - x) * slope
    return noise * np.float32(np.sqrt(2))


def _fade(share: NDArray[np.float32]) -> NDArray[np.float32]:
    return share**3 * (share * (6 * share - 15) + 10)


def spectral_noise(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """From grain to clouds, plain or drawn out along one axis."""
    white = rng.standard_normal(shape, dtype=np.float32)
    stretch = 2.0 ** rng.uniform(-3, 3) if rng.uniform() < 0.5 else 1.0
    frequency = np.hypot(fft.fftfreq(shape[0])[:, None] * stretch, fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf
    power = rng.uniform(0, 3)
    return np.asarray(fft.irfft2(fft.rfft2(white) * frequency.astype(np.float32) ** (-power / 2), s=shape))


def stripes(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Straight or wavy, with soft or hard flanks, 3 to 32 px apart."""
    heading, period = rng.uniform(0, np.pi), 3 * 2 ** rng.uniform(0, 3.4)
    y, x = _rows_and_columns(shape)
    phase = (y * np.sin(heading) + x * np.cos(heading)) * (2 * np.pi / period)
    phase = phase + rng.uniform(0, 3) * perlin(shape, (3, 3), rng) + rng.uniform(0, 2 * np.pi)
    return np.tanh(np.sin(phase) * np.float32(rng.uniform(0.5, 4))).astype(np.float32)


def checker(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Square grains of 2 to 12 px, alternating or random."""
    grain = int(rng.integers(2, 13))
    grid = tuple(-(-n // grain) for n in shape)
    values = rng.standard_normal(grid, dtype=np.float32)
    if rng.uniform() < 0.3:
        values = (np.add.outer(np.arange(grid[0]), np.arange(grid[1])) % 2).astype(np.float32)
    return values.repeat(grain, axis=0).repeat(grain, axis=1)[: shape[0], : shape[1]]


def dead_leaves(shape: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Flat shapes that hide one another, of many sizes, round or drawn out along one direction or all.

    The dead leaves model (Matheron 1968; Lee, Mumford and Huang 2001): its edges and scales are about those of
    photographs.
    """
    picture = Image.new("F", (shape[1], shape[0]))
    pen = ImageDraw.Draw(picture)
    least, most = 1.5, 4 * 4 ** rng.uniform()
    num = int(min(400, 8 * shape[0] * shape[1] / (least * most * np.pi)))
    radii = least * (most / least) ** rng.uniform(size=num)
    stretch, is_turned, main = 2.0 ** rng.uniform(0, 2), rng.uniform() < 0.5, rng.uniform(0, np.pi)
    headings = rng.uniform(0, np.pi, num) if is_turned else rng.normal(main, 0.2, num)
    corners = 2 * np.pi * np.arange(n := int(rng.integers(4, 9))) / n
    outline = np.stack([np.cos(corners) * stretch, np.sin(corners) / np.sqrt(stretch)])
    greys, places = rng.normal(size=num), rng.uniform(size=(num, 2)) * shape[::-1]
    for radius, heading, grey, place in zip(radii, headings, greys, places, strict=True):
        turn = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
        pen.polygon([(float(x), float(y)) for x, y in (radius * turn @ outline).T + place], fill=float(grey))
    return np.asarray(picture) + np.float32(rng.uniform(0, 0.4)) * rng.standard_normal(shape, dtype=np.float32)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """By a Gaussian of `sigma` px."""
    return ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest", truncate=3)


def resampled(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    """Resized, antialiased."""
    channels = [Image.fromarray(c).resize(shape[::-1], Image.Resampling.BILINEAR) for c in np.moveaxis(pixels, -1, 0)]
    return np.stack([np.asarray(c, dtype=np.float32) for c in channels], axis=-1)


def shuffled(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut into 2 to 8 tiles a side, which change places."""
    num = int(rng.integers(2, 9))
    height, width = (max(1, n // num) for n in pixels.shape[:2])
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    tiles = pixels[: rows * height, : columns * width].reshape(rows, height, columns, width, -1).swapaxes(1, 2)
    tiles = rng.permutation(tiles.reshape(rows * columns, height, width, -1))
    tiles = tiles.reshape(rows, columns, height, width, -1).swapaxes(1, 2)
    mixed = pixels.copy()
    mixed[: rows * height, : columns * width] = tiles.reshape(rows * height, columns * width, -1)
    return mixed


def polygon_field(shape: tuple[int, int], place: tuple[int, int], rng: np.random.Generator) -> Plane:
    """Depth in px below 1 to 4 slightly curved edges round a place: half-plane, band, corner or box."""
    y, x = _rows_and_columns(shape)
    y, x = y - place[0], x - place[1]
    heading = rng.uniform(0, 2 * np.pi)
    if rng.uniform() < 0.6:  # along the image's sides
        heading = np.pi / 2 * rng.integers(4) + rng.normal(0, 0.05)
    turns = [(0,), (0, 2), (0, 1), (0, 1, 2, 3)][int(rng.integers(4))]
    depth = np.full(shape, np.inf, dtype=np.float32)
    for turn in turns:
        angle = heading + turn * np.pi / 2 + rng.normal(0, 0.05)
        edge = np.float32(rng.uniform(0.4, 1.6)) * (y * np.float32(np.sin(angle)) + x * np.float32(np.cos(angle)))
        depth = np.minimum(depth, -edge)
    if rng.uniform() < 0.5:
        depth += np.float32(rng.uniform(0, 0.04) * min(shape)) * perlin(shape, (4, 4), rng)
    return depth


def cut_to_area(field: Plane, area: float, feather: float) -> Plane:
    """Opacity: 1 on the highest `area` share of a field, with an edge `feather` px wide."""
    above = field - np.quantile(field[::3, ::3], 1 - area).astype(np.float32)
    slope = np.maximum(np.hypot(*np.gradient(above)), 1e-6)
    return np.clip(above / slope / max(feather, 1.0) + 0.5, 0, 1).astype(np.float32)


def stroke(shape: tuple[int, int], points: NDArray[np.float64], pressure: NDArray[np.float64], width: float) -> Plane:
    """The opacity of a line of `width` px through points (y, x), antialiased."""
    fine, reach = 4, int(np.ceil(width)) + 1
    least = np.clip(np.floor(points.min(axis=0)).astype(int) - reach, 0, np.array(shape) - 1)
    most = np.clip(np.ceil(points.max(axis=0)).astype(int) + reach, least + 1, shape)
    height, length = most - least
    picture = Image.new("L", (int(length) * fine, int(height) * fine))
    pen, thick = ImageDraw.Draw(picture), max(1, round(width * fine))
    corners = [(float(x), float(y)) for y, x in (points - least) * fine]
    for start, end, press in zip(corners[:-1], corners[1:], pressure, strict=False):
        pen.line([start, end], fill=round(255 * float(press)), width=thick)
    opacity = np.zeros(shape, dtype=np.float32)
    opacity[least[0] : most[0], least[1] : most[1]] = np.asarray(picture.reduce(fine), dtype=np.float32) / 255
    return opacity


def poisson_blend(target: Pixels, patch: Pixels, *, is_mixed: bool) -> Pixels:
    """The patch with its rim at the target's values: its gradients, or where `is_mixed` the stronger of both.

    Perez et al. 2003. The Laplacian of the inside is given, the rim is known, and a sine transform solves it.
    """
    slopes = [np.diff(patch, axis=axis) for axis in (0, 1)]
    if is_mixed:
        own = [np.diff(target, axis=axis) for axis in (0, 1)]
        slopes = [np.where(np.abs(o) > np.abs(s), o, s) for o, s in zip(own, slopes, strict=True)]
    curvature = np.diff(slopes[0][:, 1:-1], axis=0) + np.diff(slopes[1][1:-1], axis=1)
    curvature[0] -= target[0, 1:-1]
    curvature[-1] -= target[-1, 1:-1]
    curvature[:, 0] -= target[1:-1, 0]
    curvature[:, -1] -= target[1:-1, -1]
    waves = [2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2 for n in curvature.shape[:2]]
    divisor = np.add.outer(*waves).astype(np.float32)[..., None]
    blended = target.copy()
    spectrum = fft.dstn(curvature, type=1, axes=(0, 1)) / divisor
    blended[1:-1, 1:-1] = fft.idstn(spectrum, type=1, axes=(0, 1))
    return blended


def _rows_and_columns(shape: tuple[int, int]) -> tuple[Plane, Plane]:
    return np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)[None]
