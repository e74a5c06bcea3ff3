"""Real children: what they say, and how they end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cavga.projects.jobs import CANCELLED, DONE, FAILED, RUNNING, Jobs, OccupiedError
from cavga.projects.project import NotThereError
from tests.conftest import write_category

TRAIN = ("--encoder", "efficientnet_lite0", "--image-size", "64", "--device", "cpu", "--no-export")


@pytest.fixture
def jobs(tmp_path):
    found = Jobs(str(tmp_path))
    yield found
    found.close()


def training(data, folder):
    return ["train", str(data), "--output", str(folder / "run"), *TRAIN]


def wait(job, seconds=120.0):
    end = time.monotonic() + seconds
    while job.state == RUNNING and time.monotonic() < end:
        time.sleep(0.02)
    return job


def wait_for_progress(job):
    end = time.monotonic() + 120
    while not job.progress and job.state == RUNNING and time.monotonic() < end:
        time.sleep(0.02)
    assert job.progress, job.lines


def test_a_child_says_what_it_found_and_hides_where(jobs, tmp_path):
    data, heard = write_category(tmp_path / "data", num_train=3), threading.Event()
    job = wait(jobs.start("check", "part", ["check", str(data)], lambda _job: heard.set()))
    assert (job.state, job.result["counts"]["train_normal"], heard.is_set()) == (DONE, 3, True)
    failed = wait(jobs.start("check", "part", ["check", str(tmp_path / "nowhere")], lambda _job: heard.clear()))
    assert (failed.state, heard.is_set()) == (FAILED, True)
    assert "nowhere" in failed.lines[-1]
    assert str(tmp_path) not in failed.lines[-1]
    assert [job.id for job in jobs.all()] == ["2", "1"]


def test_one_at_a_time_it_is_told_how_far_it_is_and_can_be_cancelled(jobs, tmp_path):
    data = write_category(tmp_path / "data")
    job = jobs.start(
        "training", "part", ["train", str(data), "--output", str(tmp_path / "run"), *TRAIN], lambda _j: None
    )
    with pytest.raises(OccupiedError, match="training of part is under way"):
        jobs.start("refit", "part", ["refit", "x"], lambda _job: None)
    wait_for_progress(job)
    assert {"phase", "share", "whole_share", "whole_seconds_left", "seconds_left", "count"} == job.progress.keys()
    jobs.cancel(job.id)
    assert wait(job).state == CANCELLED
    assert job.process.poll() == 143
    assert jobs.running() is None
    with pytest.raises(NotThereError):
        jobs.cancel("7")


def test_closing_ends_what_is_under_way(jobs, tmp_path):
    data = write_category(tmp_path / "data")
    job = jobs.start(
        "training", "part", ["train", str(data), "--output", str(tmp_path / "run"), *TRAIN], lambda _j: None
    )
    jobs.close()
    assert job.process.poll() is not None


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    data = write_category(tmp_path / "data")
    program = (
        "import sys, time; from cavga.projects.jobs import Jobs; jobs = Jobs('x')\n"
        "job = jobs.start('training', 'part', sys.argv[1:], lambda _job: None)\n"
        "while not job.progress: time.sleep(0.02)\n"
        "print(job.process.pid, flush=True); time.sleep(600)"
    )
    arguments = training(data, tmp_path)
    parent = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 60
    while is_alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"  # nobody may wait for it any more
    except FileNotFoundError:
        return False
    except OSError:
        os.kill(pid, signal.SIGKILL)
        raise
