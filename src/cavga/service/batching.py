"""One model's queue: threads that each take what waits, score it together and hand out the predictions."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cavga.errors import CavgaError, ModelFileError
from cavga.images.decode import BATCH_SIZE
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import DecodedImage, FailedImage

Result = Prediction | FailedImage
BATCH_WAIT = 0.002  # s: how long a batch that is not full waits for images that are being decoded


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: DecodedImage
    future: "Future[Any]"
    finish: Callable[[Result], Any]


class Batcher:
    """Scores images from many requests in batches: nobody waits for a full one, only for what is on its way.

    `score` is called from `workers` threads at once. With several, each takes its share of what waits.
    """

    def __init__(
        self,
        score: Callable[[Sequence[DecodedImage]], Sequence[Result]],
        *,
        workers: int = 1,
        scored: Callable[[int], object] = lambda _size: None,
    ) -> None:
        self._score, self._scored = score, scored
        self._queue: deque[_Waiting] = deque()
        self._change = threading.Condition()
        self._is_open, self._expected = True, 0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """How many images wait."""
        return len(self._queue)

    @property
    def num_workers(self) -> int:
        """How many batches are scored side by side."""
        return len(self._threads)

    def expect(self, change: int) -> None:
        """So many more images are on their way, or fewer."""
        with self._change:
            self._expected += change

    def submit(self, image: DecodedImage, future: "Future[Any]", finish: Callable[[Result], Any]) -> None:
        """Let one image be scored; what `finish` makes of it becomes the future's, unless that is cancelled before."""
        with self._change:
            if not self._is_open:
                raise RuntimeError("the queue is closed")
            self._queue.append(_Waiting(image, future, finish))
            self._change.notify()

    def close(self) -> None:
        """Score what waits, and end the threads."""
        with self._change:
            self._is_open = False
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            running = [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]
            if running:
                self._scored(len(running))
                self._answer(running)

    def _next(self) -> list[_Waiting]:
        """The next batch; empty once the queue is closed and all is done."""
        with self._change:
            while not self._queue:
                if not self._is_open:
                    return []
                self._change.wait()
            if len(self._threads) == 1 and len(self._queue) < min(BATCH_SIZE, len(self._queue) + self._expected):
                self._change.wait(BATCH_WAIT)
            share = -(-len(self._queue) // len(self._threads))
            return [self._queue.popleft() for _ in range(min(share, BATCH_SIZE))]

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            results = self._score([waiting.image for waiting in batch])
        except Exception as error:  # a batch that fails must not end the thread
            known = error if isinstance(error, CavgaError) else ModelFileError(f"cannot be scored: {error!r}")
            for waiting in batch:
                fail(waiting.future, known)
            return
        for waiting, result in zip(batch, results, strict=True):
            _finish(waiting, result)


def fail(future: "Future[Any]", error: Exception) -> None:
    """Let a future fail, unless nobody waits for it any more."""
    with suppress(InvalidStateError):
        future.set_exception(error)


def _finish(waiting: _Waiting, result: Result) -> None:
    try:
        waiting.future.set_result(waiting.finish(result))
    except Exception as error:
        fail(waiting.future, error)
