"""Which requests are begun: those that can be expected to be answered before their deadline."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from cavga.service.refusals import overloaded

NUM_LATEST = 32  # answers by which the pace is known
ROOM = 0.5  # of the time that is left, what may be expected to go by: a machine may do other things as well


class Admission:
    """Counts the requests that are scored, and how many seconds of work went by for each of the latest answers.

    All that are at work share the machine, so one more is answered about as many paces from now as there are of them.
    """

    def __init__(self) -> None:
        self._at_work = 0
        self._seconds: deque[float] = deque(maxlen=NUM_LATEST)
        self._since = 0.0  # the latest answer, or the begin of the first request of those at work

    def expected_seconds(self) -> float:
        """Until the answer to a request that is begun now; 0 where nothing is known."""
        return (self._at_work + 1) * sum(self._seconds) / max(1, len(self._seconds))

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """A request at work, which has to be answered by `deadline`, of `time.monotonic`; raises RefusedError.

        Where nothing else is at work it is always begun, so that a pace that was slow once is measured again.
        """
        now = time.monotonic()
        expected = self.expected_seconds()
        if self._at_work and expected > ROOM * (deadline - now):
            raise overloaded(f"{self._at_work} requests are at work, and one more would take about {expected:.1f} s")
        if not self._at_work:
            self._since = now
        self._at_work += 1
        try:
            yield
        finally:
            now = time.monotonic()
            self._at_work -= 1
            self._seconds.append(now - self._since)
            self._since = now
