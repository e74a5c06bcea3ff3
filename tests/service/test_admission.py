"""Which requests are begun, by a clock that the test turns."""

from contextlib import ExitStack, suppress

import pytest

from cavga.service.admission import Admission
from cavga.service.refusals import RefusedError

DEADLINE = 10.0


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("cavga.service.admission.time.monotonic", lambda: now[0])
    return now


def begun(admission: Admission, clock, places: ExitStack, asked: int, *, side_by_side: int = 1) -> int:
    """How many of so many requests are begun at this moment."""
    count = 0
    for _ in range(asked):
        with suppress(RefusedError):
            places.enter_context(admission.place(clock[0] + DEADLINE, side_by_side))
            count += 1
    return count


def known_pace(clock, seconds: float) -> Admission:
    admission = Admission()
    for _ in range(5):
        with admission.place(clock[0] + DEADLINE, 1):
            clock[0] += seconds
        clock[0] += 60  # nobody asks: that is no work
    return admission


@pytest.mark.parametrize(("pace", "side_by_side", "expected"), [(1.0, 1, 5), (0.5, 1, 10), (20.0, 1, 1), (20.0, 4, 4)])
def test_as_many_are_begun_as_can_be_answered_in_half_of_the_time(clock, pace, side_by_side, expected):
    with ExitStack() as places:
        assert begun(known_pace(clock, pace), clock, places, 30, side_by_side=side_by_side) == expected


def test_without_a_known_pace_all_are_begun(clock):
    with ExitStack() as places:
        assert begun(Admission(), clock, places, 30) == 30


def test_a_pace_that_was_slow_once_is_forgotten(clock):
    admission = known_pace(clock, 20.0)
    for _ in range(64):
        with admission.place(clock[0] + DEADLINE, 1):
            clock[0] += 0.125
    with ExitStack() as places:
        assert begun(admission, clock, places, 60) == 40


def test_the_pace_is_that_of_requests_together(clock):
    admission = known_pace(clock, 2.0)  # of one alone; two together take as long
    for _ in range(4):
        with ExitStack() as places:
            assert begun(admission, clock, places, 4, side_by_side=4) >= 1
            clock[0] += 2
    with ExitStack() as places:
        assert begun(admission, clock, places, 30, side_by_side=4) == 10


def test_stalls_that_were_seen_are_reckoned_with(clock):
    admission = known_pace(clock, 1.0)
    with admission.place(clock[0] + DEADLINE, 1):
        clock[0] += 8  # of which 7 s were not expected; the pace is 13 / 6 s now
    with ExitStack() as places:
        assert begun(admission, clock, places, 30) == 1
    for _ in range(64):
        with admission.place(clock[0] + DEADLINE, 1):
            clock[0] += 1
    with ExitStack() as places:
        assert begun(admission, clock, places, 30) == 5


def test_a_request_that_has_little_time_left_is_refused_sooner(clock):
    admission = known_pace(clock, 1.0)
    with admission.place(clock[0] + DEADLINE, 1), pytest.raises(RefusedError), admission.place(clock[0] + 3, 1):
        pass
    with ExitStack() as places:
        begun(admission, clock, places, 1)
        with pytest.raises(RefusedError, match="1 requests are at work") as refused:
            places.enter_context(admission.place(clock[0] + 1, 1))
    assert (refused.value.status, refused.value.reason) == (503, "queue_full")
