"""What NumPy arrays hold: one name for each kind that is handed around. No torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # what a user hands over: checked where it is used
Photograph = NDArray[np.uint8]  # H x W x 3, RGB
Picture = NDArray[np.uint8]  # H x W x 3, RGB: drawn, not photographed
AnomalyMap = NDArray[np.float32]  # H x W
Mask = NDArray[np.bool_]  # H x W, True where anomalous; all False for a normal image
Floats = NDArray[np.float64]
Counts = NDArray[np.intp]
Size = tuple[int, int]  # height, width
