import numpy as np
import pytest
import torch
from torch import backends

from cavga.inference.graph import InferenceGraph
from cavga.inference.torch_engine import TorchEngine
from cavga.model.arithmetic import exact_float32
from cavga.training.train import deterministic


def settings():
    operations = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [operation.fp32_precision for operation in operations]


@pytest.fixture(params=["highest", "medium"])
def callers(request):
    """The settings of a caller who allows less, and of one who does not."""
    torch.set_float32_matmul_precision(request.param)
    yield settings()
    torch.set_float32_matmul_precision("highest")


def test_inside_nothing_is_rounded_and_outside_the_callers_settings_hold(callers):
    with exact_float32():
        assert settings() == ["ieee"] * 4
        with exact_float32():
            assert settings() == ["ieee"] * 4
        assert settings() == ["ieee"] * 4
    assert settings() == callers
    with pytest.raises(ZeroDivisionError), exact_float32():
        _ = 1 / 0
    assert settings() == callers


def test_what_fits_and_what_predicts_compute_alike(callers):
    seen = []

    class Graph(InferenceGraph):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.image_size = (8, 8)

        def score_images(self, images):
            seen.append(settings())
            raise InterruptedError

    with deterministic(0, torch.device("cpu")):
        seen.append(settings())
    with pytest.raises(InterruptedError):
        TorchEngine(Graph(), torch.device("cpu")).score([np.zeros((8, 8, 3), np.uint8)])
    assert seen == [["ieee"] * 4] * 2
    assert settings() == callers
