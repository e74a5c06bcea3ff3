"""Photographs in their own shape against photographs that are stretched to a square.

python -m studies.own_shape OUTPUT ROOT

ROOT is that of `cavga benchmark`. Screw and ELPV are square, so nothing changes there and nothing is run. Magnetic
tile, whose photographs are of mixed shapes, is also letterboxed: padded with its mean colour to the input's shape
(OUTPUT/letterboxed). Then the maps of juice bottle are taken apart (studies.own_shape_maps). No finished row is run
twice. Writes benchmarks/results/own_shape.jsonl; `--seeds` and `--datasets` choose what is run.
"""

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import Size
from cavga.benchmark.experiments.experiment import JUICE, TILE, Experiment
from cavga.benchmark.runner import run_experiment
from cavga.config.schema import PUBLISHED_SIZE
from cavga.data.catalog import load_catalog
from cavga.data.records import NORMAL
from cavga.images.decode import read_image, read_image_size
from cavga.images.input_size import LEAST_SIDE, size_in_own_shape
from cavga.images.masks import read_mask
from studies.own_shape_maps import map_rows
from studies.rows import write_rows

RESULT = "own_shape"
SETS = (JUICE, TILE)
STRETCHED, OWN, LETTERBOXED = "stretched", "own shape", "letterboxed"
MODEL = {"variant": "r-u", "encoder": "efficientnet_lite0", "weights": "imagenet"}


def main() -> None:
    """Run what is not finished, one row after another, and write the file after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--datasets", nargs="+", default=list(SETS), choices=SETS)
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        for data in args.datasets:
            for experiment, root in experiments_of(args.root, args.output, data, seed):
                rows.append(run_experiment(experiment, root, args.output / RESULT))
                write_rows(RESULT, rows)
    maps = []
    for name in (STRETCHED, OWN) if JUICE in args.datasets else ():
        run = args.output / RESULT / experiment_of(name, JUICE, PUBLISHED_SIZE, args.seeds[0]).folder
        maps += map_rows(run, args.root / JUICE, name)
    write_rows(RESULT, rows, {"table": RESULT, "machine": platform.machine(), "maps": maps})


def experiments_of(root: Path, output: Path, data: str, seed: int) -> Iterator[tuple[Experiment, Path]]:
    """What is measured on a set, and the folder that holds it."""
    own = own_size(root / data)
    yield experiment_of(STRETCHED, data, PUBLISHED_SIZE, seed), root
    yield experiment_of(OWN, data, own, seed), root
    if data == TILE:
        padded = output / LETTERBOXED
        if not (padded / data).is_dir():
            write_letterboxed(root / data, padded / data, own)
        yield experiment_of(LETTERBOXED, data, own, seed), padded


def experiment_of(name: str, data: str, size: Size, seed: int) -> Experiment:
    """One row: `data` at an input of that size."""
    return Experiment(name, data, overrides={"data": {"image_size": size}, "model": MODEL}, seed=seed)


def own_size(data: Path) -> Size:
    """The input size that `--image-size auto` gives."""
    good = [record for record in load_catalog(data).split("train") if record.label == NORMAL]
    return size_in_own_shape([read_image_size(record.path) for record in good], most_side=LEAST_SIDE)


def write_letterboxed(data: Path, target: Path, shape: Size) -> None:
    """Every photograph and mask of an MVTec-style set, padded to the shape, under the same names."""
    catalog = load_catalog(data)
    for record in catalog.records:
        photograph = read_image(record.path)
        _write(target / record.relative_path, padded(photograph, shape, photograph.mean(axis=(0, 1))))
        for path in record.mask_paths:
            mask = read_mask([path]).astype(np.uint8) * 255
            _write(target / path.relative_to(catalog.root), padded(mask[..., None], shape, np.zeros(1)))


def padded(pixels: NDArray[np.uint8], shape: Size, colour: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Pixels (height, width, channels) in the middle of the smallest frame of that shape that holds them."""
    height, width, channels = pixels.shape
    rows = max(height, round(width * shape[0] / shape[1]))
    columns = max(width, round(height * shape[1] / shape[0]))
    frame = np.broadcast_to(np.rint(colour).astype(np.uint8), (rows, columns, channels)).copy()
    y, x = (rows - height) // 2, (columns - width) // 2
    frame[y : y + height, x : x + width] = pixels
    return frame


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
