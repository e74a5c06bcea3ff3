"""What a project gives away: overlays as an archive, the exported model. No torch, no HTTP."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cavga.calibration.stored import CALIBRATION_FILE, calibration_path
from cavga.errors import CavgaError, DataError, ModelFileError
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage
from cavga.prediction.spreadsheet import TABLE_FILE, TableFile
from cavga.projects.inspection import line_of
from cavga.projects.project import Project
from cavga.runs.model_json import ONNX_FILE, read_run_file

NOT_DRAWN = "not-drawn.txt"  # in the archive: which overlays are missing, and why


class OverlayArchive:
    """A zip file that is made piece by piece: overlays, the table, and what could not be drawn."""

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._zip = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_STORED)  # PNG files do not get smaller
        self._problems: list[str] = []

    def add(self, detector: AnomalyDetector, name: str, path: Path) -> bytes:
        """Draw one photograph; returns what of the archive is ready."""
        try:
            (result,) = detector.results([path])
            if isinstance(result, FailedImage):
                raise DataError(result.error)
            file = io.BytesIO()
            result.overlay().save(file, "PNG")
        except CavgaError as error:
            self._problems.append(str(error).replace(str(path), name))
        else:
            self._zip.writestr(f"{name}.overlay.png", file.getvalue())
        return self._pipe.taken()

    def end(self, lines: Mapping[str, Mapping[str, Any]]) -> bytes:
        """The rest of the archive."""
        self._zip.writestr(TABLE_FILE, table_bytes(lines))
        if self._problems:
            self._zip.writestr(NOT_DRAWN, "\n".join([*self._problems, ""]).encode(errors="backslashreplace"))
        self._zip.close()
        return self._pipe.taken()


class _Pipe(io.RawIOBase):
    """What is written waits here until it is taken."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._waiting += content
        return len(content)

    def taken(self) -> bytes:
        """All that waits."""
        found = bytes(self._waiting)
        self._waiting.clear()
        return found


def table_bytes(lines: Mapping[str, Mapping[str, Any]]) -> bytes:
    """predictions.csv of these lines, by name; the path is the photograph's below inspect/."""
    file = io.BytesIO()
    table = TableFile(file)
    for name in sorted(lines):
        table.add(line_of({**lines[name], "path": name}))
    return file.getvalue()


def exported_model(project: Project) -> tuple[str, bytes]:
    """A file's name and content: model.onnx, in an archive with its thresholds where they were set since.

    Raises ModelFileError where the run has none.
    """
    run = project.needed_run()
    if not (run / ONNX_FILE).is_file():
        raise ModelFileError(f"{project.name} has no {ONNX_FILE}: `cavga export` writes one")
    content = read_run_file(run / ONNX_FILE)
    name = Path(f"{project.name.replace(' ', '-')}.onnx")
    if not (run / CALIBRATION_FILE).is_file():
        return name.name, content
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name.name, content)
        archive.writestr(calibration_path(name).name, read_run_file(run / CALIBRATION_FILE))
    return f"{name.stem}-onnx.zip", file.getvalue()
