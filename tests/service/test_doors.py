"""Who and what a server turns away, and that it goes on."""

import base64
import http.client
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from cavga.service.settings import MIB
from tests.conftest import GOLDEN
from tests.service.running import running

TOKEN = "0123456789abcdef-test"


def reason(response: httpx.Response) -> tuple[int, str]:
    """Status and reason, once the answer is one JSON object of one line."""
    error = response.json()["error"]
    assert response.headers["content-type"] == "application/json"
    assert error["status"] == response.status_code
    assert "\n" not in error["message"]
    assert "Traceback" not in error["message"]
    return response.status_code, error["reason"]


def raw(url: str, sent: bytes, *, seconds: float = 10.0) -> bytes:
    """What comes back for bytes, until the server closes."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(sent)
        got = b""
        while chunk := connection.recv(65536):
            got += chunk
        return got


def bomb(width: int, height: int) -> bytes:
    """A PNG file whose header claims so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_pages_are_not_answered(server, spot, headers):
    assert reason(server.predict(spot, headers=headers)) == (403, "cross_site")
    assert reason(server.client.get("/models", headers=headers)) == (403, "cross_site")


def test_its_own_page_is(server, spot):
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.predict(spot, headers=own).status_code == 200


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "elsewhere.example:8000", "127.0.0.1.elsewhere.example", "", "[::1", "a b"]
)
def test_a_name_that_points_here_is_not_this_machine(server, host):
    assert reason(server.client.get("/models", headers={"Host": host})) == (403, "host")


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1", "[::1]:8000"])
def test_this_machine_has_several_names(server, host):
    assert server.client.get("/models", headers={"Host": host}).status_code == 200


def test_a_token_is_asked_for(spot):
    with running({"part": GOLDEN}, token=TOKEN) as server:
        for given in (None, "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xe9"):
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            response = server.predict(spot, headers=headers)
            assert reason(response) == (401, "token")
            assert response.headers["www-authenticate"] == "Bearer"
        assert reason(server.client.get("/metrics")) == (401, "token")
        assert server.client.get("/v2/health/ready").status_code == 200
        known = {"Authorization": f"Bearer {TOKEN}", "Host": "cavga.example"}
        assert server.predict(spot, headers=known).status_code == 200


def test_what_is_too_long_is_refused_before_it_is_read(spot):
    with running({"part": GOLDEN}, max_body_bytes=MIB) as server:
        assert reason(server.predict(bytes(MIB))) == (413, "body_size")
        whole = server.client.post("/predict", content=iter([bytes(MIB // 2)] * 3))  # without a length
        assert reason(whole) == (413, "body_size")
        assert server.predict(spot).status_code == 200
        lines = server.client.get("/metrics").text
        assert 'cavga_refused_total{reason="body_size"} 2.0' in lines


@pytest.mark.parametrize("size", [(7000, 8000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_by_their_header(server, size):
    before = time.monotonic()
    assert reason(server.predict(bomb(*size))) == (413, "pixels")
    assert time.monotonic() - before < 2


@pytest.mark.parametrize(
    "content", [b"", b"x", b"GIF89a", b"\x89PNG\r\n\x1a\n", bomb(40, 40), b"<svg/>", b"%!PS-Adobe"]
)
def test_what_is_no_photograph_is_the_senders_mistake(server, content):
    assert reason(server.predict(content))[0] == 422


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"image": 3}', "application/json", 422),
        (b'{"image": "***"}', "application/json", 422),
        (b'{"image": "", "path": "/etc/passwd"}', "application/json", 422),
        (b'{"image": "aGk=", "threshold": 1e999}', "application/json", 422),
        (b'{"image": "aGk=", "threshold": "1"}', "application/json", 422),
        (b"x", "multipart/form-data", 400),
        (b"x", "multipart/form-data; boundary=b", 400),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422),
        (b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n/etc/passwd\r\n--b--\r\n',
         "multipart/form-data; boundary=b", 422),
        (b"hello", "text/plain", 415),
        (b"image=x", "application/x-www-form-urlencoded", 415),
    ],
)  # fmt: skip
def test_bodies_that_hold_something_else(server, body, kind, status):
    assert reason(server.client.post("/predict", content=body, headers={"Content-Type": kind}))[0] == status


def test_a_packed_body_is_not_unpacked(server, spot):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert reason(server.client.post("/predict", content=b"x", headers=headers)) == (415, "content_encoding")


@pytest.mark.parametrize("threshold", ["high", "nan", "inf", "1e999"])
def test_thresholds_are_numbers(server, spot, threshold):
    assert reason(server.predict(spot, threshold=threshold)) == (422, "threshold")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/models/other/predict", 404),
        ("/models/..%2f..%2fetc%2fpasswd/predict", 404),
        ("/models/%2e%2e/predict", 404),
        ("/predict?overlay=perhaps", 422),
        ("/predict?map=exe", 422),
    ],
)
def test_names_and_parameters_that_are_not_known(server, spot, path, status):
    assert reason(server.predict(spot, where=path))[0] == status


def test_names_of_files_are_labels(server, spot):
    for name in ("../../etc/passwd", "/etc/passwd", "C:\\x", "a\0b", "x" * 5000):
        body = {"image": base64.b64encode(spot).decode(), "name": name}
        answer = server.client.post("/predict", json=body)
        assert (answer.status_code, answer.json()["path"]) == (200, name)
        wrong = server.client.post("/predict", json={**body, "image": "aGk="})
        assert reason(wrong) == (422, "image")
        assert len(wrong.json()["error"]["message"]) < 500


def test_a_full_queue_says_when_to_come_again(spot):
    with running({"part": GOLDEN}, queue=1, deadline=5.0) as server:
        host, port = server.url.removeprefix("http://").rsplit(":", 1)
        slow = http.client.HTTPConnection(host, int(port), timeout=10)
        slow.putrequest("POST", "/predict")
        slow.putheader("Content-Length", "10")
        slow.endheaders(b"x")
        while "in_flight 1.0" not in server.client.get("/metrics").text:
            time.sleep(0.01)
        refused = server.predict(spot)
        assert reason(refused) == (503, "queue_full")
        assert refused.headers["retry-after"] == "1"
        assert server.client.get("/v2/health/live").status_code == 200
        slow.close()
        while server.predict(spot).status_code != 200:
            time.sleep(0.01)


def test_who_cannot_be_answered_in_time_is_refused_at_once_and_who_is_begun_is_answered(spot, monkeypatch):
    with running({"part": GOLDEN}, deadline=8.0) as server:
        engine, lock = server.shelf.loaded("part").detector.engine, threading.Lock()
        at_once = engine.score

        def slow(photographs):
            with lock:
                time.sleep(0.4 * len(photographs))
            return at_once(photographs)

        monkeypatch.setattr(engine, "score", slow)
        for _ in range(3):
            server.predict(spot)
        with ThreadPoolExecutor(30) as pool:  # the last of them would wait for 12 s
            answers = list(pool.map(lambda _: server.predict(spot), range(30)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 1 <= len(answers) - len(refused) < 20
        assert {reason(answer) for answer in refused} == {(503, "queue_full")}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        monkeypatch.undo()
        assert server.predict(spot).status_code == 200


def test_slow_senders_are_not_waited_for(spot):
    with running({"part": GOLDEN}, deadline=0.5) as server:
        head = f"POST /predict HTTP/1.1\r\nHost: {server.url[7:]}\r\n".encode()
        body = raw(server.url, head + b"Content-Length: 100\r\n\r\nx")
        assert b"408" in body.splitlines()[0]
        assert b'"slow_request"' in body
        headers = raw(server.url, head)
        assert b"408" in headers.splitlines()[0]
        assert b'"slow_request"' in headers
        assert b"408" in raw(server.url, b"").splitlines()[0]
        assert server.predict(spot).status_code == 200


def test_a_connection_may_rest_between_requests(spot):
    with running({"part": GOLDEN}, deadline=0.4) as server:
        host, port = server.url.removeprefix("http://").rsplit(":", 1)
        with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
            for _ in range(2):
                connection.request("GET", "/models")
                response = connection.getresponse()
                assert response.status == 200
                response.read()
                time.sleep(0.7)


def test_what_is_not_ready_by_the_deadline_is_refused(spot, monkeypatch):
    with running({"part": GOLDEN}, deadline=0.4) as server:
        engine = server.shelf.loaded("part").detector.engine
        at_once, free = engine.score, threading.Event()

        def late(photographs):
            free.wait(5)
            return at_once(photographs)

        monkeypatch.setattr(engine, "score", late)
        before = time.monotonic()
        response = server.predict(spot)
        assert reason(response) == (503, "deadline")
        assert response.headers["retry-after"] == "1"
        assert time.monotonic() - before < 1.5
        free.set()
        monkeypatch.undo()
        assert server.predict(spot).status_code == 200


def test_a_model_that_fails_is_not_the_senders_mistake_and_says_no_path(server, spot, monkeypatch):
    engine = server.shelf.loaded("part").detector.engine
    monkeypatch.setattr(engine, "_run", lambda _photographs: 1 / 0)
    response = server.predict(spot)
    assert reason(response) == (503, "model_unavailable")
    assert str(GOLDEN) not in response.text
    monkeypatch.undo()
    assert server.predict(spot).status_code == 200


def test_our_own_mistake_is_one_line_and_not_the_end(server, spot, monkeypatch, caplog):
    monkeypatch.setattr("cavga.service.scoring.prediction_answer", lambda *_, **__: 1 / 0)
    response = server.predict(spot)
    assert reason(response) == (500, "internal")
    assert "ZeroDivision" not in response.text
    monkeypatch.undo()
    assert server.predict(spot).status_code == 200
    assert any("ZeroDivisionError" in record.getMessage() for record in caplog.records)  # written after the answer


def test_what_is_no_http_is_answered_and_closed(server):
    got = raw(server.url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert b"400" in got.splitlines()[0]
    assert b'"reason": "http"' in got
    long = raw(server.url, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000)
    assert b"400" in long.splitlines()[0]


def test_nothing_of_a_request_is_written_to_a_disk(server, spot, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", None)  # what a form becomes that is too long for memory
    assert server.predict(spot + bytes(3 * MIB)).status_code == 200
