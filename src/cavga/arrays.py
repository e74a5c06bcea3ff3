"""What NumPy arrays hold: one name for each kind that is handed around. No torch."""

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # H x W x 3
AnomalyMap = NDArray[np.float32]  # H x W
Mask = NDArray[np.bool_]  # H x W
