"""Which requests are begun: those that can be expected to be answered before their deadline."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

from cavga.service.refusals import overloaded

NUM_LATEST = 64  # answers from which the pace is known, and how far it may be trusted
ROOM = 0.5  # of the time that is left, what may be expected to go by at most


class Admission:
    """Counts the requests that are scored, and how many seconds of work went by for each of the latest answers.

    All that are at work share the machine, so one more is answered about as many paces from now as there are of them.
    A pace is known from requests that were at work together; one that had the machine to itself takes longer than that.
    How much longer they took than expected is remembered too: a machine that does other things stalls now and then.
    """

    def __init__(self) -> None:
        self._at_work = 0
        self._together: deque[float] = deque(maxlen=NUM_LATEST)
        self._alone: deque[float] = deque(maxlen=NUM_LATEST)
        self._overruns: deque[float] = deque(maxlen=NUM_LATEST)
        self._are_several = False  # since the last time that nothing was at work
        self._since = 0.0  # the latest answer, or the begin of the first request of those at work

    def expected_seconds(self) -> float:
        """Until the answer to a request that is begun now; 0 where nothing is known."""
        paces = [fmean(seconds) for seconds in (self._together, self._alone) if seconds]
        return (self._at_work + 1) * min(paces, default=0.0)

    @contextmanager
    def place(self, deadline: float, side_by_side: int) -> Iterator[None]:
        """A request at work, which has to be answered by `deadline`, of `time.monotonic`; raises RefusedError.

        One is always begun, so that a pace that was slow once is measured again. Where none were at work together yet,
        as many are begun as are scored `side_by_side`.
        """
        begun, expected = time.monotonic(), self.expected_seconds()
        latest = max(expected / ROOM, expected + max(self._overruns, default=0.0))
        if self._at_work >= (1 if self._together else side_by_side) and latest > deadline - begun:
            raise overloaded(f"{self._at_work} requests are at work, and one more may take {latest:.1f} s")
        if not self._at_work:
            self._since = begun
        self._are_several = self._at_work > 0
        self._at_work += 1
        try:
            yield
        finally:
            self._done(begun, expected)

    def _done(self, begun: float, expected: float) -> None:
        now = time.monotonic()
        (self._together if self._are_several else self._alone).append(now - self._since)
        self._at_work -= 1
        self._since = now
        if expected:
            self._overruns.append(now - begun - expected)
