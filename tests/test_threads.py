import threading
import time
from pathlib import Path

import pytest

import cavga
from cavga.threads import thread_pool


def test_a_pool_that_is_left_early_waits_for_nothing_and_drops_what_waits():
    may_end, begun = threading.Event(), []

    def work(number):
        begun.append(number)
        may_end.wait(30)

    def interrupted():
        with thread_pool(2) as pool:
            for number in range(50):
                pool.submit(work, number)
            while len(begun) < 2:
                time.sleep(0.01)
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 10
    may_end.set()
    assert len(begun) == 2


def test_a_pool_ends_its_work_with_the_block():
    done = []
    with thread_pool(2) as pool:
        for number in range(20):
            pool.submit(done.append, number)
    assert sorted(done) == list(range(20))


def test_no_other_pool_is_made():
    source = Path(cavga.__file__).parent
    makers = {path.name for path in source.rglob("*.py") if "ThreadPoolExecutor(" in path.read_text(encoding="utf-8")}
    assert makers == {
        "threads.py",
        "scoring.py",
    }  # a service keeps its threads as long as it lives, and ends them itself
