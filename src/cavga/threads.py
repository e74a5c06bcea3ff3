"""Pools of threads that let go when what they work for is interrupted."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_runtime_threads = 0


def limit_runtime_threads(count: int) -> None:
    """Let models that are loaded from now on compute with so many threads: for workers that share a machine."""
    global _runtime_threads  # noqa: PLW0603  # a property of the process, as the runtimes' own pools are
    _runtime_threads = count
    os.environ["OMP_NUM_THREADS"] = str(count)  # which torch reads when it is loaded
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def runtime_threads() -> int:
    """How many threads a runtime is to compute with; 0 where it chooses."""
    return _runtime_threads


@contextmanager
def thread_pool(num_threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool that ends its work with the block; if the block is left early it drops what waits, and waits for nothing.

    A `ThreadPoolExecutor` by itself would first do all that it was given, with Ctrl-C and SIGTERM pending.
    """
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
