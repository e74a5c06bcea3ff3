"""Work in threads, a little ahead of who takes the results. No torch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from cavga.images.decode import NUM_DECODE_THREADS
from cavga.threads import thread_pool

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(items: Iterable[Item], work: Callable[[Item], Result], *, most: int) -> Iterator[Result]:
    """What `work` makes of each item, in order, at most so many ahead of the consumer; what it raises is raised."""
    waiting: deque[Future[Result]] = deque()
    with thread_pool(NUM_DECODE_THREADS) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
