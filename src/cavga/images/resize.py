"""The one resize of photographs, in whole numbers, so that it gives the same bits wherever it runs. No torch.

Pillow's antialiased bilinear filter, columns first, rounded to whole grey levels after each axis as there. Rounding
makes libraries differ: a value that two of them compute as 99.5 plus or minus a millionth becomes 99 in one and 100 in
the other, and maps feel a grey level. Here weights are whole numbers of 1 / 2^14 and every sum stays below 2^24, so
float32 holds it exactly, in whatever order it is added up: NumPy, PyTorch, ONNX Runtime and OpenVINO agree to the bit
(`cavga.images.torch_resize.resize` is the same in torch, for the exported graph).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.arrays import AnomalyMap, Mask

ONE = 2**14  # a weight of 1; 255 * ONE is below 2^24
OUTPUTS_AT_ONCE = 16  # rows or columns whose inputs are taken together: most weights of a large photograph are 0


def resized(photograph: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A photograph (height, width, 3) stretched to `size` (height, width)."""
    if photograph.shape[:2] == size:
        return photograph
    columns = _resized_rows(photograph.transpose(1, 0, 2), size[1])  # first, as in Pillow
    return _resized_rows(columns.transpose(1, 0, 2), size[0])


def _resized_rows(photograph: NDArray[np.uint8], num_out: int) -> NDArray[np.uint8]:
    """(height, width, 3) -> (num_out, width, 3)."""
    height, width, _ = photograph.shape
    weights = filter_weights(height, num_out)
    result = np.empty((num_out, width, 3), dtype=np.uint8)
    for start in range(0, num_out, OUTPUTS_AT_ONCE):
        some = weights[start : start + OUTPUTS_AT_ONCE]
        used = np.flatnonzero(some.any(axis=0))
        inputs = slice(used[0], used[-1] + 1)
        sums = some[:, inputs] @ photograph[inputs].astype(np.float32, order="C").reshape(-1, width * 3)
        result[start : start + len(some)] = np.floor((sums + ONE // 2) / ONE).reshape(-1, width, 3)
    return result


@lru_cache(maxsize=8)
def filter_weights(num_in: int, num_out: int) -> NDArray[np.float32]:
    """The weights (num_out, num_in) that resize one axis: whole numbers, about ONE in the sum of a row."""
    scale = np.float64(num_in) / num_out
    reach = max(scale, 1.0)  # in input pixels, to each side of an output's centre
    centres = (np.arange(num_out, dtype=np.float64) + 0.5) * scale
    distances = np.abs(np.arange(num_in, dtype=np.float64) + 0.5 - centres[:, None])
    weights = np.maximum(1 - distances / reach, 0)
    return np.rint(weights / weights.sum(axis=1, keepdims=True) * ONE).astype(np.float32)


def resize_map(anomaly_map: AnomalyMap, size: tuple[int, ...]) -> AnomalyMap:
    """A map at another (height, width), bilinear; not clipped."""
    if anomaly_map.shape == tuple(size):
        return anomaly_map
    resized = Image.fromarray(anomaly_map).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def true_mask_at(mask: Mask, size: tuple[int, ...]) -> Mask:
    """A true mask at another (height, width), nearest: no pixel becomes what it was not."""
    if mask.shape == tuple(size):
        return mask
    resized = Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=np.bool_)


def resize_mask(mask: Mask, size: tuple[int, ...]) -> Mask:
    """A mask at another (height, width); a quarter of a pixel is enough, or thin scratches would vanish."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize((size[1], size[0]), Image.Resampling.BILINEAR)) >= 64
