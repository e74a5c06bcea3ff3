"""Three photographs (brick, grass, gravel: scikit-image's wheel) with synthetic defects and their masks.

Frozen: tests/demo/test_textures.py holds the content hash, so that figures stay comparable; a change
needs a decision record. Each photograph (512 x 512, grey) is cut into three disjoint bands:
columns 0-255 train, 256-383 calibration, 384-511 test (columns, because the bricks are seen in
perspective: so every band holds near and far ones). No torch.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.errors import MissingExtraError

TEXTURES = ("brick", "grass", "gravel")
DEFECT_TYPES = ("foreign_texture", "scratch", "smear", "stain")
CUT = 128  # px, side of every image
NUM_DEFECTS_PER_TYPE = 10
MAX_CONTRAST = 1.5  # standard deviations of the texture
MIN_CONTRAST = 1.25
MIN_CHANGE = 0.5  # standard deviations, root mean square inside the mask: what changes nothing is no defect
AREA_RANGE = (0.002, 0.03)  # share of the image that a defect covers
MASK_CUT = 0.25  # a pixel counts as defective where at least a quarter of it was replaced

# No ImageNet weights: how good is what the photographs alone teach? 65 images need more passes than the default.
TEXTURE_SETTINGS: dict[str, dict[str, Any]] = {
    "data": {"image_size": (CUT, CUT)},
    "model": {"weights": "none"},
    "training": {"epochs": 20},
}

Grey = NDArray[np.float64]


class TextureImage(NamedTuple):
    """One image of a texture: its path below the texture's folder, pixels, and mask (None where normal)."""

    path: str
    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None


def texture_images(texture: str) -> Iterator[TextureImage]:
    """All images of one texture, in a fixed order: training, calibration and test cuts, then defects."""
    photo = _photograph(texture)
    foreign = [_photograph(name) for name in TEXTURES if name != texture]
    yield from _normal_cuts(photo[:, :256], step=32, folder="train/good")
    yield from _normal_cuts(photo[:, 256:384], step=16, folder="validation/good")
    yield from _normal_cuts(photo[:, 384:], step=16, folder="test/good")
    for type_index, anomaly_type in enumerate(DEFECT_TYPES):
        for i in range(NUM_DEFECTS_PER_TYPE):
            rng = np.random.default_rng([TEXTURES.index(texture), type_index, i])
            top = int(rng.integers(0, photo.shape[0] - CUT + 1))
            cut = photo[top : top + CUT, 384:]
            pixels, mask = _add_defect(anomaly_type, cut, rng, std=photo.std(), foreign=foreign)
            yield TextureImage(f"test/{anomaly_type}/{i:03d}.png", pixels, mask)


def write_textures(root: Path) -> dict[str, Path]:
    """Write every texture below `root` in MVTec layout; returns texture -> folder."""
    folders = {}
    for texture in TEXTURES:
        folders[texture] = root / texture
        for image in texture_images(texture):
            _save_png(folders[texture] / image.path, image.pixels)
            if image.mask is not None:
                _, anomaly_type, name = image.path.split("/")
                mask_name = name.replace(".png", "_mask.png")
                _save_png(folders[texture] / "ground_truth" / anomaly_type / mask_name, image.mask)
    return folders


def content_hash() -> str:
    """sha256 over every path, pixel and mask of the textures."""
    digest = hashlib.sha256()
    for texture in TEXTURES:
        for image in texture_images(texture):
            digest.update(f"{texture}/{image.path}".encode())
            digest.update(image.pixels.tobytes())
            digest.update(b"" if image.mask is None else image.mask.tobytes())
    return digest.hexdigest()


def _photograph(texture: str) -> Grey:
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError("the demo needs scikit-image: pip install 'cavga[train]'") from error
    return np.asarray(getattr(data, texture)(), dtype=np.float64)


def _normal_cuts(band: Grey, *, step: int, folder: str) -> Iterator[TextureImage]:
    height, width = band.shape
    corners = [(y, x) for y in range(0, height - CUT + 1, step) for x in range(0, width - CUT + 1, step)]
    for i, (y, x) in enumerate(corners):
        yield TextureImage(f"{folder}/{i:03d}.png", _to_uint8(band[y : y + CUT, x : x + CUT]), None)


def _add_defect(
    anomaly_type: str, cut: Grey, rng: np.random.Generator, *, std: float, foreign: list[Grey]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Put one defect of `anomaly_type` into `cut`; returns the image and its mask (0 or 255), both uint8."""
    while True:
        opacity = _scratch_opacity(rng) if anomaly_type == "scratch" else _blob_opacity(rng)
        inside = opacity >= MASK_CUT
        contrast = rng.uniform(MIN_CONTRAST, MAX_CONTRAST) * std * rng.choice([-1.0, 1.0])
        if anomaly_type == "foreign_texture":
            replacement = _foreign_patch(cut, inside, rng, foreign)
        elif anomaly_type == "smear":
            replacement = _smeared(cut, rng)
        else:  # a scratch or a stain hides most of the texture and shifts its mean by the contrast
            mean = cut[inside].mean()
            replacement = mean + contrast + 0.2 * (cut - mean)
        pixels = _to_uint8(cut + opacity * (replacement - cut))
        change = np.sqrt(np.mean((pixels[inside] - cut[inside]) ** 2))
        if change >= MIN_CHANGE * std:
            return pixels, np.where(inside, 255, 0).astype(np.uint8)


def _foreign_patch(cut: Grey, inside: NDArray[np.bool_], rng: np.random.Generator, foreign: list[Grey]) -> Grey:
    """A cut of another photograph, brought to the mean and standard deviation of the place it goes to."""
    other = foreign[int(rng.integers(len(foreign)))]
    y, x = rng.integers(0, np.array(other.shape) - CUT + 1)
    patch = other[y : y + CUT, x : x + CUT]
    scale = cut[inside].std() / max(patch[inside].std(), 1.0)
    return (patch - patch[inside].mean()) * scale + cut[inside].mean()


def _smeared(cut: Grey, rng: np.random.Generator) -> Grey:
    """The cut averaged along one direction: the texture is wiped, its mean stays."""
    step_y, step_x = [(0, 1), (1, 0), (1, 1), (1, -1)][int(rng.integers(4))]
    half = int(rng.integers(4, 8))
    shifted = [np.roll(cut, (k * step_y, k * step_x), axis=(0, 1)) for k in range(-half, half + 1)]
    return np.mean(shifted, axis=0)


def _blob_opacity(rng: np.random.Generator) -> Grey:
    """A round, uneven spot with an edge 3 px wide; its area is inside AREA_RANGE."""
    while True:
        radius = rng.uniform(8.0, 12.5)
        centre_y, centre_x = rng.uniform(16, CUT - 16, size=2)
        y, x = np.mgrid[:CUT, :CUT]
        angle = np.arctan2(y - centre_y, x - centre_x)
        outline = np.full_like(angle, radius)
        for k in range(2, 5):
            outline += radius * rng.uniform(0, 0.2) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        distance = np.hypot(y - centre_y, x - centre_x)
        opacity = np.clip((outline - distance) / 3.0 + 0.5, 0.0, 1.0)
        if _has_allowed_area(opacity):
            return opacity


def _scratch_opacity(rng: np.random.Generator) -> Grey:
    """A bent line 3 to 4.5 px wide; its area is inside AREA_RANGE."""
    y, x = np.mgrid[:CUT, :CUT]
    while True:
        point = rng.uniform(16, CUT - 16, size=2)
        heading, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-0.08, 0.08)
        width, num_steps = rng.uniform(3.0, 4.5), int(rng.integers(12, 28))
        opacity = np.zeros((CUT, CUT))
        for _ in range(num_steps):
            end = point + 4.0 * np.array([np.sin(heading), np.cos(heading)])
            distance = _distance_to_segment(y, x, point, end)
            opacity = np.maximum(opacity, np.clip(width / 2 + 0.5 - distance, 0.0, 1.0))
            point, heading = end, heading + bend
        if _has_allowed_area(opacity):
            return opacity


def _distance_to_segment(
    y: NDArray[np.int_], x: NDArray[np.int_], start: NDArray[np.float64], end: NDArray[np.float64]
) -> Grey:
    along = end - start
    share = ((y - start[0]) * along[0] + (x - start[1]) * along[1]) / (along @ along)
    share = np.clip(share, 0.0, 1.0)
    return np.hypot(y - start[0] - share * along[0], x - start[1] - share * along[1])


def _has_allowed_area(opacity: Grey) -> bool:
    return AREA_RANGE[0] <= float((opacity >= MASK_CUT).mean()) <= AREA_RANGE[1]


def _to_uint8(grey: Grey) -> NDArray[np.uint8]:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _save_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
