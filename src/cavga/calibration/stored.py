"""calibration.json: thresholds that were set again after training, and which thresholds are in force. No torch.

It lies beside the model, whose own files and checksums stay as they are, and is good for these weights only.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cavga.atomic_files import atomic_write
from cavga.calibration.thresholds import Calibration
from cavga.errors import ModelFileError
from cavga.output_lock import writing_file, writing_to
from cavga.runs.model_json import ThresholdEntry, checksum_matches, read_run_file, with_checksum
from cavga.structured_files import StructureError, as_schema, parse_json

CALIBRATION_FILE = "calibration.json"
NEW_THRESHOLDS_KEY = "new_thresholds"  # of a description whose thresholds are not the training's: their source
NO_PHOTOGRAPHS: Mapping[str, Any] = {"count": 0, "folder": "", "sha256": "", "sha256s": []}  # thresholds without any
FORMAT_VERSION = 1


@dataclass(frozen=True)
class StoredCalibration:
    """What calibration.json holds.

    `photographs` has count, folder (its name), sha256s of those that set the thresholds, and one sha256 over them, or
    is NO_PHOTOGRAPHS where the scores of the training set them, or the user;
    `replaces` the thresholds that were in force before; `date` is ISO 8601 in UTC.
    """

    calibration: Calibration
    weights_sha256: str
    photographs: Mapping[str, Any]
    replaces: Mapping[str, Any]
    date: str
    cavga: str

    def described(self) -> dict[str, Any]:
        """What goes into a model's description with these thresholds."""
        source = {name: getattr(self, name) for name in ("photographs", "replaces", "date", "cavga")}
        return {"calibration": self.calibration.as_dict(), NEW_THRESHOLDS_KEY: source}


def calibration_path(model: Path) -> Path:
    """Where the thresholds of a model that were set after training lie: in a run folder, or beside an exported file."""
    if model.is_dir():
        return model / CALIBRATION_FILE
    return model.with_name(f"{model.name}.{CALIBRATION_FILE}")


@contextmanager
def writing_thresholds(model: Path) -> Iterator[None]:
    """The lock for writing or removing calibration.json of a model; none where there is no such model."""
    if not model.exists():  # which loading it says better
        yield
        return
    with writing_to(model) if model.is_dir() else writing_file(calibration_path(model)):
        yield


def save_thresholds(model: Path, thresholds: StoredCalibration) -> Path:
    """Write calibration.json; returns its path."""
    path = calibration_path(model)
    content = {**vars(thresholds), "calibration": thresholds.calibration.as_dict()}
    atomic_write(path, with_checksum({"format_version": FORMAT_VERSION, **content}))
    return path


def load_thresholds(model: Path, weights_sha256: str) -> StoredCalibration | None:
    """The thresholds that were set after training, None if there are none.

    Raises ModelFileError if the file is damaged or belongs to a model of other weights than `weights_sha256`.
    """
    path = calibration_path(model)
    if not path.exists():
        return None
    remedy = f"`cavga calibrate {model} GOOD_PHOTOS` writes it again, `cavga calibrate {model} --reset` removes it"
    try:
        document = parse_json(read_run_file(path), dict)
        if not checksum_matches(document):
            raise ModelFileError(f"{path} was changed after it was written (its sha256 differs): {remedy}")
        version = as_schema(document, _Stored).format_version
        if version != FORMAT_VERSION:
            raise ModelFileError(f"{path} has format version {version}, expected {FORMAT_VERSION}: {remedy}")
        content = {key: value for key, value in document.items() if key not in ("format_version", "sha256")}
        calibration = Calibration.from_dict(content["calibration"])
        thresholds = StoredCalibration(**{**content, "calibration": calibration})
    except (StructureError, TypeError) as error:  # TypeError: entries that are not known
        raise ModelFileError(f"{path} is no file of `cavga calibrate` ({error}): {remedy}") from None
    if thresholds.weights_sha256 != weights_sha256:
        raise ModelFileError(f"{path} belongs to another model (its weights_sha256 differs): {remedy}")
    return thresholds


class _Photographs(msgspec.Struct):
    count: int
    folder: str
    sha256s: list[str]


class _Stored(msgspec.Struct):
    format_version: int
    calibration: ThresholdEntry
    weights_sha256: str
    photographs: _Photographs
    replaces: dict[str, Any]
    date: str
    cavga: str


def calibration_in_force(model: Path, description: Mapping[str, Any]) -> Calibration:
    """The calibration that `AnomalyDetector.load` uses; its own where calibration.json is not usable."""
    try:
        again = load_thresholds(model, description["weights_sha256"])
    except ModelFileError:  # to be replaced
        again = None
    return Calibration.from_dict(description["calibration"]) if again is None else again.calibration


def calibrated_on(description: Mapping[str, Any]) -> list[str]:
    """The sha256 of the photographs that set the thresholds after training, by the description of a loaded model."""
    again = description.get(NEW_THRESHOLDS_KEY)
    return [] if again is None else list(again["photographs"]["sha256s"])
