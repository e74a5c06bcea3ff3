"""What the version in use says of a project's photographs: results/predictions.jsonl and .csv, as of `cavga predict`.

scored.json beside them says which version made the lines, and of which files. What has no line of that version is
missing, whether it is new, was changed, or was scored by another version. No torch, no HTTP.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cavga.arrays import AnomalyMap
from cavga.atomic_files import atomic_write, written_together
from cavga.calibration.stored import CALIBRATION_FILE
from cavga.errors import CavgaError, DataError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import PREDICTIONS_FILE, PredictionLine, json_lines, jsonl, prediction_line
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import FailedImage
from cavga.output_lock import writing_to
from cavga.prediction.spreadsheet import TABLE_FILE, table_writer
from cavga.projects.project import INSPECT, Project, images_below
from cavga.regular_files import NotRegularError, read_regular
from cavga.runs.model_json import MODEL_FILE
from cavga.structured_files import StructureError, parse_json

SCORED_FILE = "scored.json"
AHEAD = 15  # photographs that are decoded while others are scored
SECONDS_BETWEEN_WRITES = 5.0  # of the files, while photographs are scored
MOST_MAP_VALUES = 2**20  # of a map that is sent to a browser


class _File(msgspec.Struct):
    size: int
    mtime_ns: int
    sha256: str


class _Scored(msgspec.Struct):
    version: str
    predictions_sha256: str
    photographs: dict[str, _File]


@dataclass
class _Lines:
    """What is known of each photograph, by its path below inspect/."""

    version: str = ""
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, _File] = field(default_factory=dict)


class Inspection:
    """The lines of one project, in memory and in its results folder; used by several threads."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._lock = threading.Lock()
        self._known = _read(project)
        self.num_done = self.num_all = 0
        """Of the scoring that is under way."""
        self.is_stopped = False
        self.problem = ""
        """Why the files could not be written."""

    def missing(self) -> list[str]:
        """Photographs without a line of the version in use; lines of others and of what is gone are forgotten."""
        version, there = version_of(self.project), images_below(self.project.inspect, self.project.root)
        with self._lock:
            if self._known.version != version:
                self._known = _Lines(version, {}, self._known.files)
            known = self._known
            for name in [name for name in known.lines if not _is_same(known.files.get(name), there.get(name))]:
                del known.lines[name]
            return [name for name in there if name not in known.lines]

    def score(self, detector: AnomalyDetector, names: list[str]) -> None:
        """Score photographs with the version in use, until all are done or `is_stopped`; writes the files."""
        there = images_below(self.project.inspect, self.project.root)
        chosen = {name: there[name] for name in names if name in there}
        version = self._known.version
        self.num_done, self.num_all, last = 0, len(chosen), time.monotonic()
        results = detector.results((path for path in chosen.values()), ahead=AHEAD)
        for (name, path), result in zip(chosen.items(), results, strict=True):
            if self.is_stopped or not self._keep(version, name, path, result):
                break
            self.num_done += 1
            if time.monotonic() - last > SECONDS_BETWEEN_WRITES:
                self.write()
                last = time.monotonic()
        self.write()

    def lines(self) -> dict[str, dict[str, Any]]:
        """What is known of each photograph, by its path below inspect/: the fields of predictions.jsonl, and sha256."""
        with self._lock:
            known = self._known
            return {name: {**line, "sha256": known.files[name].sha256} for name, line in known.lines.items()}

    def write(self) -> None:
        """Write the files; what is in the way is said in `problem`."""
        with self._lock:
            known = _Lines(self._known.version, dict(self._known.lines), dict(self._known.files))
        try:
            _write(self.project, known)
            self.problem = ""
        except CavgaError as error:
            self.problem = str(error).replace(f"{self.project.root}/", "")

    def _keep(self, version: str, name: str, path: Path, result: Prediction | FailedImage) -> bool:
        """Take a result in; False where another version is in use by now."""
        shown = f"../{INSPECT}/{name}"  # where it is from the file's folder, as `cavga mark --import` reads it
        if isinstance(result, FailedImage):
            error = result.error.replace(f"{self.project.inspect}/", "")
            more: dict[str, Any] = {"num_regions": None, "regions": None}
            line = prediction_line(shown, score=None, threshold=None, error=error, **more).as_dict()
        else:
            line = result.line(shown, result.threshold, result.regions()).as_dict()
            line["image_size"] = list(result.image_size)
        of_file = _file(path)
        if of_file is None:  # it was removed meanwhile
            return True
        with self._lock:
            if self._known.version != version:
                return False
            self._known.lines[name], self._known.files[name] = line, of_file
        return True


def version_of(project: Project) -> str:
    """What tells the version in use from others, thresholds included; "" without a model."""
    run = project.run()
    if run is None:
        return ""
    found = hashlib.sha256(run.name.encode())
    for name in (MODEL_FILE, CALIBRATION_FILE):
        path = run / name
        found.update(hashlib.sha256(read_regular(path) if path.is_file() else b"").digest())
    return found.hexdigest()


def map_of(detector: AnomalyDetector, path: Path) -> AnomalyMap:
    """The map of one photograph as a browser takes it; of a huge one the highest value of each block."""
    (result,) = detector.results([path])
    if isinstance(result, FailedImage):
        raise DataError(result.error)
    found = result.anomaly_map
    step = int(np.ceil(np.sqrt(max(1.0, found.size / MOST_MAP_VALUES))))
    if step == 1:
        return found
    height, width = (-(-side // step) * step for side in found.shape)
    padded = np.pad(found, ((0, height - found.shape[0]), (0, width - found.shape[1])), mode="edge")
    return padded.reshape(height // step, step, width // step, step).max(axis=(1, 3))


def table_of(lines: Iterable[Mapping[str, Any]], target: Path) -> None:
    """The table of predictions.csv."""
    with table_writer(target) as table:
        for line in lines:
            table.add(line_of(line))


def line_of(values: Mapping[str, Any]) -> PredictionLine:
    """What stands in a file, as its writers take it."""
    own = ("path", "score", "threshold", "is_anomalous", "p_value", "label", "error", "milliseconds")
    more = {key: value for key, value in values.items() if key not in own}
    return PredictionLine(**{key: values[key] for key in own}, more=more)


def _file(path: Path) -> _File | None:
    """What tells whether a file is the same later; None of one that is gone, no sha256 of one that cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    try:
        sha256 = hashlib.sha256(read_regular(path)).hexdigest()
    except (OSError, NotRegularError):
        sha256 = ""
    return _File(found.st_size, found.st_mtime_ns, sha256)


def _is_same(known: _File | None, path: Path | None) -> bool:
    if known is None or path is None:
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (known.size, known.mtime_ns)


def _read(project: Project) -> _Lines:
    """What the results folder says, nothing where it is of another program or does not fit together."""
    lines_file = project.results / PREDICTIONS_FILE
    try:
        content = read_regular(lines_file)
        scored = parse_json(read_regular(project.results / SCORED_FILE), _Scored)
    except (OSError, StructureError, CavgaError):
        return _Lines()
    if hashlib.sha256(content).hexdigest() != scored.predictions_sha256:  # `cavga predict` wrote it since
        return _Lines()
    prefix = f"../{INSPECT}/"
    lines = {line["path"].removeprefix(prefix): line for line in json_lines(lines_file) if line}
    return _Lines(scored.version, {n: line for n, line in lines.items() if n in scored.photographs}, scored.photographs)


def _write(project: Project, known: _Lines) -> None:
    lines = [known.lines[name] for name in sorted(known.lines)]
    content = jsonl(lines)
    files = {name: msgspec.to_builtins(known.files[name]) for name in known.lines}
    scored = {
        "version": known.version, "predictions_sha256": hashlib.sha256(content).hexdigest(), "photographs": files
    }  # fmt: skip
    with writing_to(project.results), written_together():
        atomic_write(project.results / PREDICTIONS_FILE, content)
        table_of(lines, project.results / TABLE_FILE)
        atomic_write(project.results / SCORED_FILE, (json.dumps(scored) + "\n").encode())
