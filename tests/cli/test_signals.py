"""A command that is told to stop stops, whatever it is doing, and clears up."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import save_image, texture

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these signals are of POSIX")

# A command whose `check` does what a test wants.
STAND_IN = """
import signal, sys, threading, time, os
import cavga.cli.commands.check as command
def run(args):
{body}
command.run = run
# Who is started in the background of a script ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
{setting}
from cavga.__main__ import run
sys.argv = ["cavga", "check", "DATA"]
run()
"""


def start(body, setting=""):
    code = STAND_IN.format(body="".join(f"    {line}\n" for line in body.strip().splitlines()), setting=setting)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped(process, number):
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize(
    ("number", "exit_code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 143, "terminated")],
)
def test_threads_that_hang_do_not_keep_it(number, exit_code, word):
    body = """
from cavga.images.prefetch import prefetch
def hang(_item):
    threading.Event().wait(300)
sys.stdout.write("ready\\n"); sys.stdout.flush()
list(prefetch(range(100), hang, most=20))
"""
    assert stopped(start(body), number) == (exit_code, f"cavga: {word}\n")


def test_a_signal_that_becomes_another_error_on_its_way_is_still_one():
    body = """
sys.stdout.write("ready\\n"); sys.stdout.flush()
try:
    time.sleep(60)
except KeyboardInterrupt as error:
    raise ImportError("cannot import name 'x' from partially initialized module 'y'") from error
"""
    assert stopped(start(body), signal.SIGTERM) == (143, "cavga: terminated\n")


def test_a_signal_that_python_would_print_and_forget_comes_again():
    body = """
class Slow:
    def __del__(self):
        sys.stdout.write("ready\\n"); sys.stdout.flush()
        time.sleep(60)
del (held := [Slow()])[0]
time.sleep(60)
"""
    assert stopped(start(body), signal.SIGTERM) == (143, "cavga: terminated\n")


def test_a_second_signal_stops_at_once():
    body = """
try:
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    time.sleep(60)
finally:
    time.sleep(60)
"""
    process = start(body)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_nohup_is_respected():
    body = """
sys.stdout.write("ready\\n"); sys.stdout.flush()
time.sleep(1)
sys.exit(7)
"""
    process = start(body, "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert stopped(process, signal.SIGHUP) == (7, "")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_what_a_stopped_prediction_leaves_is_gone_after_the_next(exported_model, tmp_path, number):
    paths = [save_image(tmp_path / f"photographs/{i}.png", texture(i)) for i in range(3)]
    for i in range(3, 2000):
        os.link(paths[i % 3], tmp_path / f"photographs/{i:04d}.png")
    command = [sys.executable, "-m", "cavga", "predict", exported_model, tmp_path / "photographs", "--overlays"]
    output = tmp_path / "p"
    process = subprocess.Popen([*command, "--output", output], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(output.glob("overlays/*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    second = subprocess.run([*command, "--output", output], capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (1, "")
    assert f"is being written to by process {process.pid}" in second.stderr
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGHUP else -signal.SIGKILL)
    assert bool(list(output.glob(".*.tmp"))) == (number == signal.SIGKILL)
    done = subprocess.run([*command[:5], paths[0], "--overlays", "--output", output], check=False, capture_output=True)
    assert done.returncode == 0
    found = sorted(path.relative_to(output).as_posix() for path in output.rglob("*"))
    assert found == ["gallery.html", "overlays", "overlays/0.png", "predictions.csv", "predictions.jsonl"]
