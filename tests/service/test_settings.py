"""What `cavga serve` takes as flags, and how it ends."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from cavga.errors import UsageError
from cavga.service.server import listening
from cavga.service.settings import ServiceSettings, read_token
from cavga.service.shelf import named_models
from tests.conftest import GOLDEN, is_one_complaint, run_command

TOKEN = "0123456789abcdef-test"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_addresses_need_a_token_or_a_word(host):
    with pytest.raises(UsageError, match="--insecure"):
        ServiceSettings(host=host)
    assert ServiceSettings(host=host, token=TOKEN).host == host
    assert ServiceSettings(host=host, is_insecure=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_none(host):
    assert ServiceSettings(host=host).token is None


@pytest.mark.parametrize(
    "setting",
    [{"port": 65536}, {"port": -1}, {"queue": 0}, {"deadline": 0.0}, {"deadline": float("nan")}, {"max_body_bytes": 0}],
)
def test_limits_have_to_be_some(setting):
    with pytest.raises(UsageError):
        ServiceSettings(**setting)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("CAVGA_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("CAVGA_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN}-of-a-file\n")
    assert read_token(tmp_path / "token") == f"{TOKEN}-of-a-file"
    for content in ("", "short", "x" * 20 + " y", "ä" * 20):
        (tmp_path / "token").write_text(content)
        with pytest.raises(UsageError, match="token"):
            read_token(tmp_path / "token")
    with pytest.raises(UsageError, match="token file"):
        read_token(tmp_path / "none")


def test_models_are_called_as_their_place_or_as_said():
    assert list(named_models(["runs/screw", "a/b.onnx", "nut=runs/x=y"])) == ["screw", "b", "nut"]
    for models in (["a/x", "b/x"], ["=x"], ["a b=x"], ["runs/Prüfteil"]):
        with pytest.raises(UsageError, match="NAME="):
            named_models(models)


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["nowhere"], 1),
        ([GOLDEN, "--host", "0.0.0.0"], 2),
        ([GOLDEN, "--port", "70000"], 2),
        ([GOLDEN, "--queue", "0"], 2),
        ([GOLDEN, GOLDEN], 2),
        ([GOLDEN, "--token-file", "nowhere"], 2),
        ([GOLDEN, "--host", "192.0.2.1", "--insecure"], 2),
    ],
)
def test_what_is_wrong_is_one_line(capsys, monkeypatch, flags, code):
    monkeypatch.delenv("CAVGA_TOKEN", raising=False)
    found, _, err = run_command(capsys, "serve", *flags)
    assert found == code
    assert is_one_complaint(err)


def test_a_port_in_use_is_one_line(capsys, server):
    code, _, err = run_command(capsys, "serve", GOLDEN, "--port", server.url.rsplit(":", 1)[1])
    assert code == 2
    assert is_one_complaint(err)
    assert "in use" in err


def test_sigterm_ends_it_after_what_was_accepted(spot, tmp_path, monkeypatch):
    """The command in a process of its own, without torch: asked, told to end while it is asked, and done."""
    monkeypatch.delenv("CAVGA_TOKEN", raising=False)
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "cavga", "serve", f"part={GOLDEN}", "--port", "0", "--json", "--device", "cpu"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        url = re.search(r"http://\S+", process.stderr.readline())[0]
        assert httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200
        answers, started = [], threading.Event()

        def ask() -> None:
            def slowly():
                yield b'{"image": "'
                started.set()
                time.sleep(0.6)
                yield base64.b64encode(spot) + b'"}'

            answers.append(
                httpx.post(
                    f"{url}/predict", content=slowly(), headers={"Content-Type": "application/json"}, trust_env=False
                )
            )

        thread = threading.Thread(target=ask)
        thread.start()
        started.wait()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        thread.join()
        out, err = process.communicate(timeout=20)
    assert answers[0].status_code == 200
    assert process.returncode == 0
    assert json.loads(out) == {"answered": 2, "refused": 0, "images": 1}
    assert "Traceback" not in err
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/ready", trust_env=False)


def test_answers_do_not_wait_for_an_acknowledgement():
    with listening(ServiceSettings(port=0)) as bound:
        assert bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
