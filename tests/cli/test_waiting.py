import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from cavga.cli.waiting import Tracker
from cavga.progress import counted, in_words

pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
import fcntl  # noqa: E402  # as pty, of POSIX alone
import struct  # noqa: E402
import termios  # noqa: E402

WIDTH = 80
QUICK = ("--encoder", "efficientnet_lite0", "--image-size", "32", "--device", "cpu", "--no-export")
PROGRAM = (
    "import sys; from cavga.cli import waiting; from cavga.cli.main import main; "
    "from cavga.training import fit_guided_head; fit_guided_head.NUM_STEPS = 300; "
    "waiting.SECONDS_BETWEEN_LINES = 0.5; sys.exit(main(sys.argv[1:]))"
)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal:
    """A command in a pseudo-terminal of 80 columns: what it writes to stderr, and the state it leaves."""

    def __init__(self, *arguments):
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
        self._theirs, self.before, self.text = theirs, termios.tcgetattr(theirs), ""
        environment = {**os.environ, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1"}
        for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment,
        )  # fmt: skip
        os.set_blocking(self._own, False)

    def read(self, until=None, seconds=180):
        """Read to the end of the command, or until a text is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (until is None or until not in self.text):
            is_over = self.process.poll() is not None
            try:
                self.text += os.read(self._own, 65536).decode()
            except BlockingIOError:
                if is_over:
                    break
                time.sleep(0.02)
        return self.text

    def after(self):
        return termios.tcgetattr(self._theirs)

    def close(self):
        os.close(self._own)
        os.close(self._theirs)


@pytest.fixture
def terminal():
    opened = []

    def start(*arguments):
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        one.close()


def rows_of(text):
    """Every row that was ever drawn, as it looks."""
    return [row for row in re.split(r"[\r\n]+", ESCAPE.sub("", text)) if row.strip()]


def test_a_phase_goes_by_its_own_speed_and_the_rest_by_the_plan():
    clock, over = Clock(), []
    tracker = Tracker(clock, over.append)
    tracker.plan({"features": 10.0, "prior": 40.0, "thresholds": 10.0})
    tracker.begin("features", 4, "batches")
    assert tracker.seconds_left == 10.0
    assert tracker.all_left == 60.0
    clock.now += 5
    tracker.advance()
    assert (tracker.share, tracker.seconds_left) == (0.25, 15.0)
    clock.now += 15
    tracker.begin("prior", 6, "fits")  # all takes twice as long as planned
    assert tracker.all_left == 100.0
    assert over == [f"{'features':<19} 0:20"]
    clock.now += 40
    tracker.advance(2.4)
    assert (tracker.share, tracker.count()) == (pytest.approx(0.4), "2 of 6")
    assert tracker.seconds_left == pytest.approx(60.0)
    assert tracker.line() == ("prior: 2 of 6 fits, 40 %, about 1 minute left; 43 % of all, about 1 minute left")


def test_the_share_of_the_whole_never_falls():
    clock = Clock()
    tracker = Tracker(clock)
    tracker.plan({"decoder": 1.0, "prior": 1.0})
    tracker.begin("decoder", 1, "epochs")
    clock.now += 1
    before = tracker.whole_share()
    clock.now += 50  # much slower than planned
    assert tracker.seconds_left is None
    tracker.begin("prior", 6, "fits")
    assert tracker.whole_share() >= before


def test_what_an_earlier_run_did_says_nothing_of_the_speed():
    clock = Clock()
    tracker = Tracker(clock)
    tracker.begin("networks", 10, "epochs", done=5)
    clock.now += 10
    tracker.advance()
    assert tracker.share == 0.6
    assert tracker.seconds_left == pytest.approx(40.0)


def test_a_phase_without_a_total_says_how_long_it_has_taken():
    clock = Clock()
    tracker = Tracker(clock)
    tracker.begin("measuring")
    clock.now += 12
    assert tracker.line() == "measuring: for 12 seconds now"
    assert tracker.seconds_left is None


def test_counted_advances_once_an_item():
    tracker = Tracker()
    tracker.begin("reading", 3)
    assert list(counted("abc", tracker)) == ["a", "b", "c"]
    assert tracker.share == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 second"), (40.0, "40 seconds"), (58.0, "1 minute"), (185.0, "3 minutes"),
        (3600.0, "1 hour"), (4810.0, "1 hour 20 minutes"),
    ],
)  # fmt: skip
def test_durations_are_said_as_people_say_them(seconds, text):
    assert in_words(seconds) == text


def test_training_tells_its_phases_on_a_terminal_of_80_columns(category, tmp_path, terminal):
    shown = terminal("train", category, "--output", tmp_path / "run", *QUICK)
    text = shown.read()
    assert shown.process.wait() == 0, text
    rows = rows_of(text)
    assert max(map(len, rows)) <= WIDTH
    # the attention alone takes long enough on any machine to be drawn in the middle
    assert any(re.match(r"attention .* \d+ of \d+ .*\d+ % .*\d:\d\d left", row) for row in rows)
    assert any(re.match(r"all of it .*\d+ % .*\d:\d\d left", row) for row in rows)
    assert "training takes about" in " ".join(rows)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is there again


def test_training_writes_a_line_every_few_seconds_into_a_pipe(category, tmp_path):
    arguments = [sys.executable, "-c", PROGRAM, "train", category, "--output", tmp_path / "run", *QUICK]
    process = subprocess.Popen(
        list(map(str, arguments)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = [(time.monotonic(), line) for line in process.stderr]
    process.stderr.close()
    assert process.wait() == 0
    told = [(at, line) for at, line in lines if re.search(r"attention: \d+ of \d+ steps, \d+ %", line)]
    assert told
    assert "% of all, about" in told[0][1]
    gaps = [after - before for (before, _), (after, _) in pairwise(told)]
    assert max(gaps, default=0) < 5  # half a second, on a machine that has other things to do


def test_ctrl_c_leaves_the_terminal_as_it_was(category, tmp_path, terminal):
    shown = terminal("train", category, "--output", tmp_path / "run", *QUICK)
    shown.read(until="attention")
    shown.process.send_signal(signal.SIGINT)
    text = shown.read()
    assert shown.process.wait() == 130, text
    assert "interrupted" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert shown.after() == shown.before


def test_json_tells_nothing(category, tmp_path):
    arguments = [sys.executable, "-c", PROGRAM, "check", category, "--json"]
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_what_was_not_planned_does_not_count_as_done():
    clock = Clock()
    tracker = Tracker(clock)
    tracker.begin("resizing", 2, "photographs")
    assert "of all" not in tracker.line()
    tracker.plan({"features": 10.0, "prior": 90.0})
    tracker.begin("features", 4, "batches")
    clock.now += 10.0
    tracker.advance(4.0)
    assert tracker.line().endswith("; 10 % of all, about 2 minutes left")
