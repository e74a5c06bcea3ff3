"""Where the time of a prediction goes, and how much memory it takes. No torch of its own."""

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga._version import __version__
from cavga.arrays import Size
from cavga.errors import DataError, UsageError
from cavga.images.decode import BATCH_SIZE, NUM_DECODE_THREADS
from cavga.images.resize import resize_map
from cavga.images.tiling import Tiling
from cavga.images.walk import images_of
from cavga.inference.detector import AnomalyDetector
from cavga.inference.engine import ResizedPhotograph
from cavga.inference.lines import PREDICTIONS_FILE, jsonl, prediction_line
from cavga.inference.prepare import DecodedImage, FailedImage, read
from cavga.threads import thread_pool

STEPS = ("decode", "resize", "forward", "postprocess", "write")
PERCENTILES = (50, 95, 99)
NUM_WARM_UP = 3  # photographs or batches that are not counted
MIN_BATCHES = 3  # timed, of every batch size
NOISE_SIDE = 1024  # px
NUM_NOISE = 4  # photographs
PACKAGES = ("numpy", "pillow", "onnxruntime", "openvino", "torch")


@dataclass(frozen=True)
class BatchSpeed:
    """The forward pass of one batch size: the median of its batches, and the process's peak memory until then.

    Its images are what the model sees, tiles of a model with tiles.
    """

    batch_size: int
    images_per_second: float
    milliseconds: float
    peak_mebibytes: float | None


@dataclass(frozen=True)
class Profile:
    """Milliseconds of every step of one photograph, one row a photograph; then speed by batch size.

    `num_tiles`: how many tiles each of those photographs has, 1 without tiles.
    """

    milliseconds: dict[str, list[float]]
    num_tiles: tuple[int, ...]
    batches: tuple[BatchSpeed, ...]
    machine: dict[str, Any]

    def steps(self) -> dict[str, dict[str, float]]:
        """p50, p95 and p99 in milliseconds of every step, and of all of them together."""
        columns = {**self.milliseconds, "total": np.sum(list(self.milliseconds.values()), axis=0)}
        return {
            name: {f"p{q}": round(float(np.percentile(values, q)), 3) for q in PERCENTILES}
            for name, values in columns.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        peak = self.batches[-1].peak_mebibytes if self.batches else peak_mebibytes()
        return {
            "milliseconds": self.steps(),
            "photographs_timed": len(self.num_tiles),
            "pieces_per_photograph": round(float(np.mean(self.num_tiles)), 1),
            "batches": [vars(batch) for batch in self.batches],
            "peak_mebibytes": peak,
            "machine": self.machine,
        }


def profile(detector: AnomalyDetector, paths: Sequence[Path], *, batch_sizes: Sequence[int], repeats: int) -> Profile:
    """Time `repeats` predictions, one after another, over and over `paths`; then the forward pass of batches.

    Each does what `AnomalyDetector.results` does with one photograph, tiles and a region of interest included: these
    are cut in the step resize and laid together in postprocess, which is the decision and the mask at the photograph's
    own size too. Raises DataError at a photograph that cannot be read or does not fit the region.
    """
    with tempfile.TemporaryDirectory(prefix="cavga-") as folder, thread_pool(NUM_DECODE_THREADS) as pool:
        lines = Path(folder) / PREDICTIONS_FILE
        chosen = list(islice(cycle(paths), repeats + NUM_WARM_UP))
        timed = [_timed_steps(detector, path, lines, pool) for path in chosen][NUM_WARM_UP:]
    milliseconds = {name: [spent[name] * 1000 for spent, _ in timed] for name in STEPS}
    ready = list(islice(_tiles(detector, paths), max(batch_sizes)))
    batches = tuple(_batch_speed(detector, ready, size, repeats) for size in sorted(set(batch_sizes)))
    return Profile(milliseconds, tuple(num_tiles for _, num_tiles in timed), batches, machine(detector))


def profile_model(
    model: str | Path, images: Sequence[Path], *, batch_sizes: Sequence[int], repeats: int, device: str
) -> dict[str, Any]:
    """As `profile`, of a model's files and of photographs (files and folders), or of noise; plain values.

    Raises UsageError for a number below 1.
    """
    if repeats < 1 or not batch_sizes or min(batch_sizes) < 1:
        raise UsageError("repeats and batch sizes: expected whole numbers from 1 on")
    given = list(images_of(images))
    detector = AnomalyDetector.load(model, device=device)
    size = None if given else noise_size(detector.tiling)
    with tempfile.TemporaryDirectory(prefix="cavga-") as folder:
        paths = given if size is None else make_noise(Path(folder), size)
        measured = profile(detector, paths, batch_sizes=batch_sizes, repeats=repeats)
    about = {"images": len(paths), "is_noise": size is not None, "noise_size": None if size is None else list(size)}
    return {**measured.as_dict(), **about}


def noise_size(tiling: Tiling) -> Size:
    """Height and width of noise that fits a model's region of interest, if it has one."""
    roi = tiling.roi
    if roi is None:
        return NOISE_SIDE, NOISE_SIDE
    if roi.mask is not None:
        height, width = roi.mask.shape
        return height, width
    return max(NOISE_SIDE, roi.y + roi.height), max(NOISE_SIDE, roi.x + roi.width)


def make_noise(folder: Path, size: Size) -> list[Path]:
    """PNG files of noise, for want of photographs; how long others take to decode depends on what they are."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(NUM_NOISE)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return paths


def machine(detector: AnomalyDetector) -> dict[str, Any]:
    """What computed: processor, cores, threads, versions, engine and model."""
    engine = type(detector.engine).__name__.removesuffix("Engine").lower()
    height, width = detector.image_size
    return {
        "engine": engine,
        "variant": detector.description["variant"],
        "image_size": [height, width],
        "tile": detector.tiling.tile,
        "processor": _processor(),
        "cores": _num_cores(),
        "threads": sys.modules["torch"].get_num_threads() if engine == "torch" else None,  # None: the engine's choice
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cavga": __version__,
        **{name: found for name in PACKAGES if (found := _version_of(name)) is not None},
    }


def peak_mebibytes() -> float | None:
    """The most memory that this process has held so far; None where the platform does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    # On Linux `getrusage` counts what the process that started this one held before.
    own = _first_match(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status"))
    peak = int(own) if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)  # macOS counts bytes, others KiB


class _Stopwatch:
    """Seconds by step: each lap goes to the step that it ends."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STEPS, 0.0)
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.spent[step] += now - self._last
        self._last = now


def _timed_steps(
    detector: AnomalyDetector, path: Path, lines: Path, pool: ThreadPoolExecutor
) -> tuple[dict[str, float], int]:
    """Seconds of each of STEPS, for one photograph, and how many tiles it has."""
    watch, tiling, scores = _Stopwatch(), detector.tiling, list[float]()
    photograph = _read(path, tiling)
    watch.lap("decode")

    def maps() -> Iterator[NDArray[np.float32]]:
        tiles = tiling.tiles(photograph.photograph)
        while batch := list(islice(tiles, BATCH_SIZE)):
            resized = list(pool.map(detector.engine.resize, batch))
            watch.lap("resize")
            scored = detector.engine.score(resized)
            watch.lap("forward")
            scores.extend(scored.scores.tolist())
            yield from scored.maps
            watch.lap("postprocess")  # what was made of the maps meanwhile

    anomaly_map = next(maps()) if tiling.is_plain else tiling.layout(photograph.size).stitch(maps())
    score, threshold = max(scores), detector.image_threshold
    _ = resize_map(anomaly_map, photograph.size) >= detector.pixel_threshold
    line = prediction_line(path.as_posix(), score=score, threshold=threshold)
    watch.lap("postprocess")
    with lines.open("ab") as file:
        file.write(jsonl([line.as_dict()]))
    watch.lap("write")
    return watch.spent, len(scores)


def _read(path: Path, tiling: Tiling) -> DecodedImage:
    photograph = read(path, tiling)
    if isinstance(photograph, FailedImage):
        raise DataError(photograph.error)
    return photograph


def _tiles(detector: AnomalyDetector, paths: Sequence[Path]) -> Iterator[ResizedPhotograph]:
    """What the model sees of the photographs."""
    for path in paths:
        yield from map(detector.engine.resize, detector.tiling.tiles(_read(path, detector.tiling).photograph))


def _batch_speed(
    detector: AnomalyDetector, ready: Sequence[ResizedPhotograph], batch_size: int, repeats: int
) -> BatchSpeed:
    batch = list(islice(cycle(ready), batch_size))
    num_batches = max(MIN_BATCHES, repeats // batch_size)
    for _ in range(NUM_WARM_UP):
        detector.engine.score(batch)
    seconds = float(np.median([_seconds(lambda: detector.engine.score(batch)) for _ in range(num_batches)]))
    return BatchSpeed(batch_size, round(batch_size / seconds, 1), round(seconds * 1000, 3), peak_mebibytes())


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _num_cores() -> int | None:
    """The cores that this process may use, where the platform says; else those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    # On Linux `platform` knows only the architecture.
    found = _first_match(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo"))
    return found or platform.processor() or platform.machine()


def _first_match(pattern: str, path: Path) -> str | None:
    """The first group of the first line that fits; None without such a line or file."""
    try:
        found = re.search(pattern, path.read_text(encoding="utf-8"), re.M)
    except OSError:
        return None
    return found[1].strip() if found else None


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
