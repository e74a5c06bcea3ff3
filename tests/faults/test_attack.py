"""A part of every attack of `make test-faults`: what a user gives is read as it is meant or refused."""

import json
import sys

import pytest

from benchmarks.faults.__main__ import with_others
from benchmarks.faults.attack import attacks, content, try_one
from benchmarks.faults.launcher import Done, Launcher
from benchmarks.faults.server import LOST, Answer, _promise
from benchmarks.faults.trials import LARGEST_PEAK, READ, REFUSED, WRONG, fault_of, row_of, trial
from benchmarks.result_files import read_result

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the attack forks, and looks into /proc")
QUICK = [
    ("images", "flipped bits"),
    ("images", "cut off"),
    ("images", "bombs"),
    ("models", "model.onnx alone, one bit"),
    ("models", "files of a run, one bit"),
    ("models", "programs in files"),
    ("tables", "manifests"),
    ("names", "broken photographs"),
    ("special files", "links"),
    ("kills", "predict"),
    ("disks and streams", "filling under pictures"),
    ("two writers", "predict"),
    ("situations", "one picture of many"),
    ("a server", "mutated requests"),
    ("a server", "twice its capacity"),
    ("a server", "its own description"),
]


@pytest.fixture(scope="module")
def launcher():
    with Launcher(with_torch=False) as started:
        yield started


@pytest.mark.parametrize(("kind", "attack"), QUICK)
def test_nothing_that_is_tried_shows_a_fault(kind, attack, launcher, exported_run, category, tmp_path):
    row = try_one(kind, attack, launcher, tmp_path, category, exported_run, is_short=True)
    assert row["tried"] > 0
    assert row["faults"] == []


def done(code=0, *, out="", err="", peak=0, timed_out=False):
    return Done(code, out, err, 1.0, peak, timed_out)


@pytest.mark.parametrize(
    ("ended", "word"),
    [
        (done(1, err="Traceback (most recent call last):\n  x\nValueError: x\n"), "a traceback"),
        (done(-7), "ended by signal 7"),
        (done(5, err="cavga: x\n"), "exit code 5"),
        (done(0, out="\x1b[31m"), "control characters"),
        (done(0, err="UserWarning: x\n"), "a line of a library"),
        (done(1), "no word of why"),
        (done(0, peak=LARGEST_PEAK + 1), "MiB of memory"),
        (done(-9, timed_out=True), "did not end"),
    ],
)
def test_what_no_command_may_do_is_a_fault(ended, word):
    assert word in fault_of(ended)
    assert trial("x", ended, READ).outcome == WRONG


def test_what_a_command_may_do_is_none():
    for ended in (done(), done(3, err="cavga: x\n"), done(4, err="TIFFFillStrip: x.\ncavga: left out: x\n")):
        assert fault_of(ended) == ""
    assert trial("x", done(3, err="cavga: x\n")).outcome == REFUSED


def test_a_row_counts_every_outcome_and_keeps_the_first_faults():
    trials = [trial(f"input {i}", done(), WRONG if i % 2 else None, "why") for i in range(20)]
    row = row_of("images", "bits", iter(trials))
    assert (row["tried"], row["read"], row["wrong"], len(row["faults"])) == (20, 10, 10, 5)
    assert row["faults"][0].startswith("input 1: why")


def test_attacks_of_one_piece_are_kept_beside_the_others():
    kept = read_result("faults")["rows"]
    new = row_of("kills", "predict", iter([trial("x", done())]))
    rows = with_others(content([new], is_short=False), ["kills: predict"])["rows"]
    assert [row for row in rows if row != new] == [
        row for row in kept if (row["kind"], row["attack"]) != ("kills", "predict")
    ]
    assert new in rows
    assert [(row["kind"], row["attack"]) for row in rows] == [
        one for one in attacks() if one in {(r["kind"], r["attack"]) for r in rows}
    ]


def answer(status, seconds, reason=""):
    body = json.dumps({"error": {"reason": reason, "message": "x"}}).encode() if status != 200 else b"{}"
    return Answer(status, body, seconds)


def test_the_promise_of_an_overloaded_server_can_be_broken():
    refused = [answer(503, 0.01, "queue_full")] * 100
    in_time, late, lost = answer(200, 1.0), answer(503, 3.1, "deadline"), answer(LOST, 0.1, "broken")
    kept = _promise([in_time] * 200 + [late] + refused, 3.0, 0, 10.0)
    assert kept.outcome == READ
    assert (kept.measured["served"], kept.measured["refused"], kept.measured["late"]) == (200, 100, 1)
    for broken in ([in_time] * 50 + [late] + refused, [in_time] * 200 + [lost] + refused, [in_time] * 200, refused):
        assert _promise(broken, 3.0, 0, 10.0).outcome == WRONG


def test_the_page_says_what_the_rows_say():
    from docs.generate.reliability import page

    rows = [row_of("images", "bits", iter([trial("x", done())])), row_of("kills", "train", iter([trial("y", done(9))]))]
    text = page(json.loads(json.dumps(content(rows, is_short=False))), "Reliability", "What?").text()
    assert "2 inputs were tried, and 1 of them showed a fault" in text
    assert "same weights | kills | 1 | 0 |  |" in text
    assert "| kills: train | 1 | 0 | 0 | 0 | 0 | 1 |" in text
    assert "- kills, train: 1" in text
