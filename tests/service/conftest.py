from collections.abc import Iterator

import numpy as np
import pytest

from tests.conftest import GOLDEN, texture
from tests.service.running import Running, png, running


@pytest.fixture(scope="session")
def spot() -> bytes:
    """A PNG file that the golden model calls anomalous."""
    pixels = texture(7).copy()
    pixels[8:40:2, 8:40], pixels[9:40:2, 8:40] = 255, 0
    return png(pixels)


@pytest.fixture(scope="session")
def good() -> bytes:
    return png(texture(7))


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running({"part": GOLDEN, "file": GOLDEN / "model.onnx"}) as found:
        yield found


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    return np.repeat(texture(7)[..., None], 3, axis=2)
