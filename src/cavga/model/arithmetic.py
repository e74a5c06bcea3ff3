"""Float32 as it is written down, whatever the caller allows a device to round it to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import backends


class _Callers:
    """The settings that a caller had, and how many are inside."""

    def __init__(self) -> None:
        self.lock, self.num_inside = threading.Lock(), 0
        self.settings: list[str] = []


_callers = _Callers()


@contextmanager
def exact_float32() -> Iterator[None]:
    """Neither TF32 nor bfloat16 in place of float32 inside; the caller's settings again outside.

    TF32 keeps 10 bits of every factor, which moves scores by thousandths of a threshold. What sets thresholds and what
    is compared with them is to compute alike, on every device. The settings are torch's, for all threads: they come
    back when the last thread leaves.
    """
    with _callers.lock:
        if not _callers.num_inside:
            _callers.settings = [operation.fp32_precision for operation in _operations()]
            _set(["ieee"] * len(_callers.settings))
        _callers.num_inside += 1
    try:
        yield
    finally:
        with _callers.lock:
            _callers.num_inside -= 1
            if not _callers.num_inside:
                _set(_callers.settings)


def _operations() -> list[Any]:
    cuda, cudnn, mkldnn = _untyped(backends.cuda), _untyped(backends.cudnn), _untyped(backends.mkldnn)
    # Nothing here is recurrent; but with convolutions alone torch calls its own older settings inconsistent.
    return [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv]


def _untyped(module: Any) -> Any:
    """A module of torch whose members are made as it is imported, which types do not know."""
    return module


def _set(precisions: list[str]) -> None:
    for operation, precision in zip(_operations(), precisions, strict=True):
        operation.fp32_precision = precision
