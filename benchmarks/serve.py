"""What serving costs: requests a second of `cavga serve` beside the bare graph, written to results/serve.jsonl.

python -m benchmarks.serve RUN PHOTOGRAPHS                     # about two minutes
python -m benchmarks.serve RUN PHOTOGRAPHS --anomalib PYTHON   # beside serve_anomalib.py, run by another environment
python -m benchmarks.serve RUN PHOTOGRAPHS --keep              # and writes the file

RUN holds model.onnx. All sides take turns of a few seconds, so that what else the machine does falls on all. The bare
graph is ONNX Runtime's session as cavga makes it, called from as many threads as there are clients. With decoding it is
given files, as the servers are; without, pixels at its input size (the server: as a binary tensor of /v2).
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `cavga serve` sets it, for both sides

import argparse
import http.client
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.result_files import write_result
from benchmarks.served import Served, serving, started
from cavga._version import __version__
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FileContent

RESULT = "serve"
CLIENTS = (1, 4)
SIDE = 1024  # px of the photographs that are sent, which are those given, enlarged
NUM_PHOTOGRAPHS = 16
GOAL = 0.9  # of the bare graph's rate
FILES, PIXELS = "files, decoding included", "pixels, no decoding"
IDLE = 2.0  # s between requests, after which a server may have closed a connection
BOUNDARY = "cavga-benchmark"

METHOD = (
    "all sides in turn; ratio: served to bare, and served to anomalib, of the rates of each round's turns, its median, "
    "lowest and highest; cpu_ms: of the server's process, and of the bare one, for each call; clients: threads of one "
    "process on the same machine, each with a connection that stays for the turn"
)

Call = Callable[[int], object]


def main() -> int:
    """Measure, print, and with --keep write the file; returns 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("photographs", type=Path, metavar="PHOTOGRAPHS")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--anomalib", metavar="PYTHON", help="of an environment with anomalib, OpenVINO and FastAPI")
    parser.add_argument("--keep", action="store_true", help=f"write benchmarks/results/{RESULT}.jsonl")
    args = parser.parse_args()
    files = photographs(args.photographs)
    detector = AnomalyDetector.load(args.run, device="cpu")
    pixels = [detector.prepare(FileContent(content, "photograph")).photograph[None] for content in files]
    rows = []
    with serving(args.run) as server, leader(args.anomalib) as other:
        for what, bare, body, headers, path in sides(detector, files, pixels):
            for clients in CLIENTS:
                asked = {"served": server} | ({"anomalib": other} if other and what == FILES else {})
                found = {"bare": Side([bare] * clients, time.process_time)} | {
                    name: Side(senders(one.address, path, body, headers, clients), one.cpu_seconds)
                    for name, one in asked.items()
                }
                rows.append(compared(what, found, args.rounds, args.seconds))
                print(json.dumps(rows[-1]), flush=True)
        versions = {} if other is None else json.loads(http_get(other.address, "/versions"))
    content = {"machine": machine(), "method": METHOD, "model": described(args.run), "anomalib": versions, "rows": rows}
    if args.keep:
        print(write_result(RESULT, content))
    return int(any(row["ratio"]["median"] < GOAL for row in rows))


@contextmanager
def leader(python: str | None) -> Iterator[Served | None]:
    """The leader's own inference, anomalib's, behind a plain FastAPI; nothing where there is no environment for it."""
    if python is None:
        yield None
        return
    with started([python, str(Path(__file__).with_name("serve_anomalib.py"))]) as found:
        yield found


def http_get(address: str, path: str) -> bytes:
    """The body of an answer."""
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def photographs(folder: Path) -> list[bytes]:
    """JPEG files of one size, made of those in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))[:NUM_PHOTOGRAPHS]
    made = []
    for path in paths:
        file = BytesIO()
        Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
        made.append(file.getvalue())
    return made


def sides(
    detector: AnomalyDetector, files: Sequence[bytes], pixels: Sequence[np.ndarray]
) -> list[tuple[str, Call, list[bytes], dict[str, str], str]]:
    """What is measured: its name, the bare call, and what is sent to the server instead."""
    engine = detector.engine

    def bare_of_files(i: int) -> object:
        ready = detector.prepare(FileContent(files[i % len(files)], "photograph"))
        return engine.score([ready.photograph])

    def bare_of_pixels(i: int) -> object:
        return engine.score(list(pixels[i % len(pixels)]))

    form = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    tensors = [tensor(values) for values in pixels]
    binary = {"Inference-Header-Content-Length": str(tensors[0][0]), "Content-Type": "application/octet-stream"}
    return [
        (FILES, bare_of_files, [multipart(content) for content in files], form, "/predict"),
        (PIXELS, bare_of_pixels, [body for _, body in tensors], binary, "/v2/models/model/infer"),
    ]


def multipart(content: bytes) -> bytes:
    """A form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="part.jpg"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def tensor(values: np.ndarray) -> tuple[int, bytes]:
    """A request of /v2 with one binary tensor: bytes of its JSON, and all of it."""
    entry = {"name": "photographs", "datatype": "UINT8", "shape": list(values.shape),
             "parameters": {"binary_data_size": values.nbytes}}  # fmt: skip
    text = json.dumps({"inputs": [entry], "outputs": [{"name": "score"}, {"name": "is_anomalous"}]}).encode()
    return len(text), text + values.tobytes()


def senders(address: str, path: str, bodies: Sequence[bytes], headers: dict[str, str], count: int) -> list[Call]:
    """One client each, with a connection that stays while its turn lasts."""

    def sender() -> Call:
        connection, latest = http.client.HTTPConnection(address, timeout=60), time.monotonic()

        def send(i: int) -> None:
            nonlocal latest
            if time.monotonic() - latest > IDLE:
                connection.close()  # it is opened again by the next request
            latest = time.monotonic()
            connection.request("POST", path, bodies[i % len(bodies)], headers)
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {content[:200]!r}")

        return send

    return [sender() for _ in range(count)]


@dataclass(frozen=True)
class Side:
    """What is called, in a thread each, and a clock of the processor's seconds that its process has used."""

    calls: Sequence[Call]
    clock: Callable[[], float]


def compared(what: str, sides: Mapping[str, Side], rounds: int, seconds: float) -> dict[str, Any]:
    """All sides in turn: rates, times of a call, and the ratios of each round's rates."""
    for side in sides.values():
        turn(side, 1.0)
    turns = [{name: turn(side, seconds) for name, side in sides.items()} for _ in range(rounds)]
    row: dict[str, Any] = {"what": what, "clients": len(sides["bare"].calls), "rounds": rounds}
    for name in sides:
        found = [one[name] for one in turns]
        times = np.concatenate([times for times, _, _ in found]) * 1000
        row[name] = {
            "per_second": round(median(len(times) / took for times, took, _ in found), 2),
            "p50_ms": round(float(np.quantile(times, 0.5)), 2),
            "p99_ms": round(float(np.quantile(times, 0.99)), 2),
            "cpu_ms": round(1000 * median(cpu / len(times) for times, _, cpu in found), 2),
            "count": len(times),
        }
    for key, other in (("ratio", "bare"), ("ratio_to_anomalib", "anomalib")):
        if other in sides:
            rates = [{name: len(one[name][0]) / one[name][1] for name in ("served", other)} for one in turns]
            ratios = [one["served"] / one[other] for one in rates]
            found = {"median": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
            row[key] = {name: round(value, 3) for name, value in found.items()}
    return row


def turn(side: Side, seconds: float) -> tuple[np.ndarray, float, float]:
    """The seconds of every call that was begun in so long, of all of it, and of the processor."""
    times: list[list[float]] = [[] for _ in side.calls]
    begun, cpu = time.perf_counter(), side.clock()

    def work(call: Call, own: list[float], i: int) -> None:
        while (started := time.perf_counter()) < begun + seconds:
            call(i)
            own.append(time.perf_counter() - started)
            i += 1

    with ThreadPoolExecutor(len(times)) as pool:
        list(pool.map(work, side.calls, times, range(len(times))))
    return np.concatenate([np.array(own) for own in times]), time.perf_counter() - begun, side.clock() - cpu


def machine() -> dict[str, Any]:
    """Where it was measured."""
    versions = {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__, "cavga": __version__}
    return {"processor": platform.machine(), "cores": os.cpu_count(), **versions}


def described(run: Path) -> dict[str, Any]:
    """What the model is."""
    description = AnomalyDetector.load(run, device="cpu").description
    return {
        "variant": description["variant"],
        "encoder": description["config"]["model"]["encoder"],
        "image_size": description["preprocessing"]["image_size"],
        "photographs": f"JPEG, {SIDE} x {SIDE} px",
    }


if __name__ == "__main__":
    sys.exit(main())
