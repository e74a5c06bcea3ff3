"""Which requests are begun: those that can be expected to be answered before their deadline."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from cavga.service.refusals import overloaded

NUM_LATEST = 64  # answers from which the pace is known, and how far it may be trusted
ROOM = 0.5  # of the time that is left, what may be expected to go by at most


class Admission:
    """Counts the requests that are scored, and how many seconds of work went by for each of the latest answers.

    All that are at work share the machine, so one more is answered about as many paces from now as there are of them.
    How much longer it took than that is remembered too: a machine that does other things as well stalls now and then.
    """

    def __init__(self) -> None:
        self._at_work = 0
        self._seconds: deque[float] = deque(maxlen=NUM_LATEST)
        self._overruns: deque[float] = deque(maxlen=NUM_LATEST)
        self._since = 0.0  # the latest answer, or the begin of the first request of those at work

    def expected_seconds(self) -> float:
        """Until the answer to a request that is begun now; 0 where nothing is known."""
        return (self._at_work + 1) * sum(self._seconds) / max(1, len(self._seconds))

    @contextmanager
    def place(self, deadline: float, side_by_side: int) -> Iterator[None]:
        """A request at work, which has to be answered by `deadline`, of `time.monotonic`; raises RefusedError.

        As many as are scored `side_by_side` are always begun: that many do not wait for each other, and a pace that
        was slow once is measured again.
        """
        begun, expected = time.monotonic(), self.expected_seconds()
        latest = max(expected / ROOM, expected + max(self._overruns, default=0.0))
        if self._at_work >= side_by_side and latest > deadline - begun:
            raise overloaded(f"{self._at_work} requests are at work, and one more may take {latest:.1f} s")
        if not self._at_work:
            self._since = begun
        self._at_work += 1
        try:
            yield
        finally:
            self._done(begun, expected)

    def _done(self, begun: float, expected: float) -> None:
        now = time.monotonic()
        self._at_work -= 1
        self._seconds.append(now - self._since)
        self._since = now
        if expected:
            self._overruns.append(now - begun - expected)
