"""pixel_counts.npz: how many pixels of each test image reach each value, so that two evaluations can be compared.

The maps themselves are gone after an evaluation; these counts are a thousandth of them. No pickle: plain arrays.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cavga.atomic_files import atomic_write
from cavga.errors import DataError

PIXEL_COUNTS_FILE = "pixel_counts.npz"


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """The counts of the images with a known mask.

    `rows` says which line of predictions.jsonl (from 0) each image is. `counts` is images x 2 (normal, anomalous
    pixels) x (edges + 1): the pixels below the first of the ascending `edges`, then those from each edge on.
    `threshold` is that of the mask, and one of the edges; None where there was none.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    edges: NDArray[np.float32]
    threshold: float | None


def save_pixel_counts(path: Path, found: PixelCounts) -> None:
    """Write the counts."""
    buffer = io.BytesIO()
    threshold = np.float32(np.nan if found.threshold is None else found.threshold)
    counts = found.counts.astype(np.int32)  # no image has 2^31 pixels
    np.savez_compressed(buffer, rows=found.rows, counts=counts, edges=found.edges, threshold=threshold)
    atomic_write(path, buffer.getvalue())


def load_pixel_counts(path: Path) -> PixelCounts:
    """Read the counts; raises DataError where the file is not one that `save_pixel_counts` wrote."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows, counts, edges = (file[name] for name in ("rows", "counts", "edges"))
            threshold = float(file["threshold"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error
    if counts.shape != (len(rows), 2, len(edges) + 1):
        raise _damaged(path)
    return PixelCounts(rows, counts.astype(np.int64), edges, None if np.isnan(threshold) else threshold)


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: not the pixel counts that `cavga evaluate` writes; evaluate again")
