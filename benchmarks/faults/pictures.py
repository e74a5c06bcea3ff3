"""Photographs to damage: a texture with a dark disc, and a bright block for a defect; each seed gives another."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 48
DEFECT = 10  # pixels


def part(seed: int, *, is_bad: bool = False, side: int = SIDE) -> NDArray[np.uint8]:
    """One photograph, height x width x 3."""
    random = np.random.default_rng(seed)
    small = random.integers(90, 160, (side // 4, side // 4), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)).copy()
    rows, columns = np.mgrid[:side, :side]
    grey[np.hypot(rows - side / 2, columns - side / 2) < side / 5] -= 60
    if is_bad:
        grey[mask_of(seed, side=side)] = 250
    return np.repeat(grey[..., None], 3, axis=2)


def mask_of(seed: int, *, side: int = SIDE) -> NDArray[np.bool_]:
    """Where the defect of that photograph is."""
    top, left = np.random.default_rng([seed, 1]).integers(4, side - DEFECT - 4, 2)
    mask = np.zeros((side, side), dtype=bool)
    mask[top : top + DEFECT, left : left + DEFECT] = True
    return mask


def encoded(pixels: NDArray[Any], image_format: str, **options: Any) -> bytes:
    """A file's content."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def save(path: Path, pixels: NDArray[Any], image_format: str = "PNG", **options: Any) -> Path:
    """A file, and the folders it takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(pixels, image_format, **options))
    return path


def save_good(folder: Path, count: int, *, first: int = 0) -> Path:
    """Good photographs, 000.png and on."""
    for number in range(count):
        save(folder / f"{number:03d}.png", part(first + number))
    return folder


def save_bad(folder: Path, count: int, *, masks: Path | None = None, mask_suffix: str = "_mask") -> Path:
    """Photographs with a defect, and their masks."""
    for number in range(count):
        save(folder / f"{number:03d}.png", part(2000 + number, is_bad=True))
        if masks is not None:
            save(masks / f"{number:03d}{mask_suffix}.png", mask_of(2000 + number).astype(np.uint8) * 255)
    return folder


def save_category(root: Path, *, num_train: int = 12, num_good: int = 4, num_bad: int = 4) -> Path:
    """A category as MVTec AD has them."""
    save_good(root / "train/good", num_train)
    save_good(root / "test/good", num_good, first=1000)
    save_bad(root / "test/block", num_bad, masks=root / "ground_truth/block")
    return root
