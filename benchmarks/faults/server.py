"""A server of `cavga serve` under damaged requests, at twice what it can do, and by its own description."""

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from benchmarks.faults.images import cut_off, flipped
from benchmarks.faults.pictures import encoded, part
from benchmarks.faults.trials import LARGEST_PEAK, READ, REFUSED, WRONG, Bench, Trial
from benchmarks.served import Served, serving

BOUNDARY = "cavga-faults"
LOST = 599  # no status of a server: the connection broke
DEADLINE = 10.0  # s: a server's usual one, as its queue
SHORT_DEADLINE = 4.0
CLIENTS = 96  # connections of it: more than its queue, so that no request waits for a connection
SIDE = 1200  # px: a photograph that takes long enough for a few dozen a second to be too many
AT_THE_DOOR = "queue_full"  # the reason of who is not accepted


@dataclass(frozen=True)
class Answer:
    """What came back for a request; status 0: nothing."""

    status: int
    body: bytes
    seconds: float

    def fault(self) -> str:
        """What no answer may be, in words."""
        if self.status >= 500 and self.status != 503:
            return f"status {self.status}: {self.body[:200]!r}"
        if b"Traceback" in self.body:
            return "a traceback"
        if self.status not in (0, 200):
            try:
                error = json.loads(self.body)["error"]
                message = error if isinstance(error, str) else error["message"]
            except (ValueError, KeyError, TypeError):
                return f"status {self.status} without a line that says why: {self.body[:200]!r}"
            return "more than one line" if "\n" in message else ""
        return ""

    @property
    def is_accepted(self) -> bool:
        """Whether it was begun, and so has to be answered; what broke off counts as begun."""
        return self.status != 503 or json.loads(self.body)["error"]["reason"] != AT_THE_DOOR

    def trial(self, what: str, peak_bytes: int) -> Trial:
        """As a trial: answered or refused, or a fault."""
        fault = self.fault() or (f"{peak_bytes >> 20} MiB of memory" if peak_bytes > LARGEST_PEAK else "")
        outcome = WRONG if fault else READ if self.status == 200 else REFUSED
        return Trial(what, outcome, fault, self.seconds, peak_bytes)


def mutated(bench: Bench) -> Iterator[Trial]:
    """Forms, JSON, tensors and plain HTTP, each with flipped bits or cut off: no 5xx, and bounded memory."""
    makers = (_form, _json, _tensor, _files)
    sound = [encoded(part(3), name) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")]
    with serving(bench.run, "--deadline", "5") as served:
        yield from _still_scores(served, "before")
        for number in range(bench.count(3000, 150)):
            random = bench.random
            change = random.choice([flipped, cut_off, _stretched])
            content = random.choice(sound)
            content = change(content, random) if random.random() < 0.7 else content
            path, body, headers = random.choice(makers)(content)
            body = change(body, random) if random.random() < 0.5 else body
            answer = _asked(served, path, body, headers)
            yield answer.trial(f"{path} {number}", served.peak_bytes())
        for number in range(bench.count(300, 20)):
            path, body, headers = _form(sound[0])
            lines = [f"POST {path} HTTP/1.1", f"Host: {served.address}", f"Content-Length: {len(body)}"]
            whole = (
                "\r\n".join([*lines, *(f"{key}: {value}" for key, value in headers.items()), "", ""]).encode() + body
            )
            answer = _sent(served, bench.random.choice([flipped, cut_off])(whole, bench.random))
            yield answer.trial(f"plain HTTP {number}", served.peak_bytes())
        yield from _still_scores(served, "after")


def overload(bench: Bench) -> Iterator[Trial]:
    """Requests at twice the rate that it can answer: what is accepted comes before the deadline, the rest is 503."""
    content = encoded(np.kron(part(3), np.ones((SIDE // 48, SIDE // 48, 1), np.uint8)), "JPEG")
    _, body, headers = _form(content)
    deadline = SHORT_DEADLINE if bench.is_short else DEADLINE
    with (
        serving(bench.run, "--deadline", str(deadline)) as served,
        closing(_Sender(served, "/predict", body, headers)) as send,
    ):
        _asked_for(1.0, 4, send)
        capacity = max(1.0, len(_asked_for(bench.count(20, 2), 4, send)) / bench.count(20, 2))
        answers = _at_rate(2 * capacity, bench.count(180, 5), send)
        peak = served.peak_bytes()
        for number, answer in enumerate(answers):
            yield answer.trial(f"request {number}, {2 * capacity:.0f} a second", peak)
        yield _promise(answers, deadline, peak, capacity)
        yield from _still_scores(served, "after")


def described(bench: Bench) -> Iterator[Trial]:
    """What schemathesis makes of the server's own description: every answer is one that it describes."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, seed, settings

    limits = settings(
        max_examples=bench.count(100, 10), deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with serving(bench.run) as served:
        schema = schemathesis.openapi.from_url(f"http://{served.address}/openapi.json")
        for found in schema.get_all_operations():
            trials: list[Trial] = []
            try_cases = given(case=found.ok().as_strategy())(_into(trials))
            seed(bench.random.randrange(2**32))(limits(try_cases))()
            yield from trials
        yield from _still_scores(served, "after")


def _into(trials: list[Trial]) -> Callable[[Any], None]:
    """Keeps the trial of every case that it is called with."""
    # A text that is no picture is as the description wants it, and is refused all the same.
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    def tried(case: Any) -> None:
        response = case.call()
        answer = Answer(response.status_code, response.content, response.elapsed)
        fault = answer.fault()
        try:
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
        except (Exception, BaseExceptionGroup) as error:
            fault = " ".join(str(error).split())[:300]
        outcome = WRONG if fault else READ if answer.status == 200 else REFUSED
        trials.append(Trial(f"{case.method} {case.path}", outcome, fault, answer.seconds))

    return tried


def _form(content: bytes) -> tuple[str, bytes, dict[str, str]]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="part.png"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    return "/predict?overlay=true", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def _json(content: bytes) -> tuple[str, bytes, dict[str, str]]:
    from base64 import b64encode

    body = json.dumps({"image": b64encode(content).decode(), "threshold": 1.5, "name": "part.png"}).encode()
    return "/models/model/predict?map=npy", body, {"Content-Type": "application/json"}


def _tensor(content: bytes) -> tuple[str, bytes, dict[str, str]]:
    pixels = np.resize(np.frombuffer(content or b"x", np.uint8), (1, 24, 24, 3))
    return _infer("photographs", "UINT8", list(pixels.shape), pixels.tobytes())


def _files(content: bytes) -> tuple[str, bytes, dict[str, str]]:
    return _infer("image", "BYTES", [1], len(content).to_bytes(4, "little") + content)


def _infer(name: str, kind: str, shape: Sequence[int], binary: bytes) -> tuple[str, bytes, dict[str, str]]:
    tensor = {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(binary)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return "/v2/models/model/infer", text + binary, {"Inference-Header-Content-Length": str(len(text))}


def _stretched(content: bytes, random: Random) -> bytes:
    """A part of it many times over."""
    if not content:
        return content
    at, length = random.randrange(len(content)), random.randrange(1, 40)
    return content[:at] + content[at : at + length] * random.choice([2, 100, 5000]) + content[at + length :]


def _still_scores(served: Served, when: str) -> Iterator[Trial]:
    """A sound photograph has to be scored, whatever came before."""
    answer = _asked(served, *_form(encoded(part(1), "PNG")))
    what = f"a sound photograph {when}"
    yield Trial(what, READ if answer.status == 200 else WRONG, f"status {answer.status}", answer.seconds)


def _asked(served: Served, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    with closing(_Sender(served, path, body, headers)) as send:
        return send()


class _Sender:
    """Sends one request a call; each thread keeps a connection."""

    def __init__(self, served: Served, path: str, body: bytes, headers: dict[str, str]) -> None:
        self._address, self._request = served.address, ("POST", path, body, headers)
        self._own, self._all = threading.local(), list[http.client.HTTPConnection]()

    def __call__(self) -> Answer:
        begun = time.monotonic()
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self._address, timeout=30)
            self._all.append(connection)
        try:
            connection.request(*self._request)
            response = connection.getresponse()
            return Answer(response.status, response.read(), time.monotonic() - begun)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(LOST, f"{type(error).__name__}: {error}".encode(), time.monotonic() - begun)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()


def _sent(served: Served, whole: bytes) -> Answer:
    """Bytes that may be no request: an answer, or a closed connection."""
    host, port = served.address.rsplit(":", 1)
    begun, got = time.monotonic(), b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(whole)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(1 << 16):
                got += chunk
        except ConnectionError:
            pass
    head, _, body = got.partition(b"\r\n\r\n")  # a second answer is to what looks like a second request
    found = re.match(rb"HTTP/1\.1 (\d+)[^\0]*?content-length: (\d+)", head)
    status, length = (int(found[1]), int(found[2])) if found else (0, 0)
    return Answer(status, body[:length], time.monotonic() - begun)


def _asked_for(seconds: float, clients: int, send: Callable[[], Answer]) -> list[Answer]:
    """All answers of so many clients that ask again and again."""
    end = time.monotonic() + seconds

    def ask(_client: int) -> list[Answer]:
        found = []
        while time.monotonic() < end:
            found.append(send())
        return found

    with ThreadPoolExecutor(clients) as pool:
        return [answer for answers in pool.map(ask, range(clients)) for answer in answers if answer.status == 200]


def _at_rate(rate: float, seconds: float, send: Callable[[], Answer]) -> list[Answer]:
    """The answers to requests at fixed moments, whether earlier ones were answered or not."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        begun, futures = time.monotonic(), []
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            futures.append(pool.submit(send))
        return [future.result() for future in futures]


def _promise(answers: Sequence[Answer], deadline: float, peak_bytes: int, capacity: float) -> Trial:
    """Everything that was accepted was answered, 99 of 100 by the deadline as the sender sees it; the rest is 503."""
    accepted = [answer for answer in answers if answer.is_accepted]
    refused = [answer.seconds for answer in answers if not answer.is_accepted]
    late = sum(answer.status == 503 for answer in accepted)
    lost = sum(answer.status not in (200, 503) for answer in accepted)
    latest = float(np.quantile([answer.seconds for answer in accepted] or [np.inf], 0.99, method="higher"))
    measured = {
        "asked_per_second": round(2 * capacity, 1),
        "served": len(accepted) - late - lost,
        "refused": len(refused),
        "late": late,
        "lost": lost,
        "p99_seconds": round(latest, 2),
        "deadline": deadline,
        "refused_p50_seconds": round(float(np.median(refused or [0.0])), 4),
    }
    faults = {"nothing was accepted": not accepted, "p99 later than the deadline": latest > deadline,
              "some were lost": lost > 0, "nothing was refused": not refused}  # fmt: skip
    fault = "; ".join(text for text, is_so in faults.items() if is_so)
    return Trial("the promise", WRONG if fault else READ, f"{fault}: {measured}", latest, peak_bytes, measured)


ATTACKS = {"mutated requests": mutated, "twice its capacity": overload, "its own description": described}
