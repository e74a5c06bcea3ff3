"""Pools of threads that let go when what they work for is interrupted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


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
