"""model.json: what a run's model is, with the sha256 of the weights and its own. No torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from cavga.atomic_files import atomic_write
from cavga.data.manifest import read_manifest_hashes, sha256_of
from cavga.errors import ModelFileError
from cavga.regular_files import NotRegularError, read_regular
from cavga.runs.marks_file import marks_in_force, read_marks
from cavga.structured_files import Document, Finite, StructureError, as_schema, parse_json

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
MODEL_FILE = "model.json"
ONNX_FILE = "model.onnx"
ROI_FILE = "roi.png"  # for people; a model takes its region of interest from its description
TRAINING_FOLDER = "training"
LOG_FILE = "log.jsonl"
VERSIONS_FOLDER = "versions"  # of what `cavga refit` wrote
SWITCHING_FILE = "switching"  # there: which version is taking the place of the one in use
FEATURES_FILE = "features.safetensors"
MARKED_FILE = "marked_features.safetensors"  # likewise, of the marked photographs
CONFIG_FILE = "config.toml"
DATA_FILE = "data_folder"  # in the training folder: where the photographs were when the run was trained
MANIFEST_FILE = "manifest.csv"
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
MARKS_KEY = "marks"  # of a refitted model's description
METADATA_KEY = "cavga"  # of an exported file, under which its description stands as JSON


def save_description(run: Path, description: Mapping[str, Any], *, weights_sha256: str) -> None:
    """Write model.json."""
    document = {"format_version": FORMAT_VERSION, **description, "weights_sha256": weights_sha256}
    atomic_write(run / MODEL_FILE, with_checksum(document))


def with_checksum(document: Mapping[str, Any]) -> bytes:
    """A document as JSON, with the sha256 of what it says."""
    return (json.dumps({**document, "sha256": _document_hash(document)}, indent=2) + "\n").encode()


def checksum_matches(document: Mapping[str, Any]) -> bool:
    """Whether a document that was read still says what its sha256 is of."""
    content = {key: value for key, value in document.items() if key != "sha256"}
    try:
        return document.get("sha256") == _document_hash(content)
    except RecursionError:  # writing goes less deep than reading
        return False


def load_description(run: Path) -> dict[str, Any]:
    """Read and check model.json; raises ModelFileError."""
    path = run / MODEL_FILE
    if not path.exists():
        note = run / VERSIONS_FOLDER / SWITCHING_FILE
        if note.is_file():
            number = read_run_file(note).decode(errors="replace").strip()
            raise ModelFileError(
                f"{run}: changing to version {number} was interrupted: `cavga use {run} {number}` ends it"
            )
        what = "no such model" if not run.exists() else f"not a run folder (it has no {MODEL_FILE})"
        raise ModelFileError(f"{run}: {what}; `cavga train` writes one")
    try:
        document = parse_json(read_run_file(path), dict)
        check_version(document, path)
        is_intact = checksum_matches(document)
    except StructureError as error:
        raise ModelFileError(f"{path} is not a model description written by cavga: {error}") from None
    if not is_intact:
        raise ModelFileError(f"{path} was changed after it was written (its sha256 differs); train again")
    del document["sha256"]
    try:
        return checked_description(document, path)
    except StructureError as error:
        raise ModelFileError(f"{path} is not a model description written by cavga: {error}") from None


def checked_description(document: Document, path: Path) -> Document:
    """A model's description as it was read, once it has what every one has; raises StructureError, ModelFileError."""
    check_version(document, path)
    as_schema(document, _Description)
    return document


def check_version(description: Mapping[str, Any], path: Path) -> None:
    """Raise ModelFileError if a description has another format than this cavga reads, StructureError without one."""
    version = as_schema(description, _Versioned).format_version
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this cavga reads version {FORMAT_VERSION}")


class _Versioned(msgspec.Struct):
    format_version: int


class ThresholdEntry(msgspec.Struct):
    """What a `calibration` has had since the first version."""

    threshold_rule: str
    num_images: int
    num_folds: int
    false_alarm_rate: Finite
    promised_false_alarm_rate: Finite | None
    mask_false_alarm_rate: Finite
    image_threshold: Finite
    pixel_threshold: Finite
    score_min: Finite
    score_max: Finite
    image_score: str = "map"
    scores: list[Finite] = []
    peaks: list[Finite] = []


class _Mask(msgspec.Struct):
    png: str
    sha256: str


class _Region(msgspec.Struct):
    rectangle: tuple[int, int, int, int]
    mask: _Mask | None = None


class _Preprocessing(msgspec.Struct):
    image_size: tuple[PositiveInt, PositiveInt]
    tile: PositiveInt | None = None
    roi: _Region | None = None


class _Description(msgspec.Struct):
    """What the description of a model has had since the first version."""

    variant: str
    preset: str
    preprocessing: _Preprocessing
    calibration: ThresholdEntry
    config: dict[str, Any]
    provenance: dict[str, Any]
    weights_sha256: str


def read_run_file(path: Path) -> bytes:
    """A file of a run that has to be there; raises ModelFileError."""
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise ModelFileError(f"{path} is missing: {path.parent} is not a whole run folder") from None
    except NotRegularError as error:
        raise ModelFileError(str(error)) from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}; check the path and its rights") from None


def _document_hash(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def require_features(run: Path, description: Mapping[str, Any]) -> None:
    """Raise ModelFileError for a run that cannot be refitted; its description says why."""
    if not (run / FEATURES_FILE).is_file():
        raise ModelFileError(f"{run} has no {FEATURES_FILE}, which marks need: {_why_no_features(description)}")


def _why_no_features(description: Mapping[str, Any]) -> str:
    model = description["config"].get("model", {})
    if description["preprocessing"].get("tile") is not None:
        return "a run with tiles keeps none, as a mark does not say which tile it means; train one without --tile"
    if description["variant"].endswith("-w"):
        return "a w variant learns bad photographs in training: label them there, and train again"
    if model.get("prior") != "aggregated":
        return "only runs with pretrained weights and the default prior keep it; train one with those"
    return "it is of an earlier cavga, or the file was removed; train it again"


def used_images(run: Path, description: Mapping[str, Any]) -> dict[str, str]:
    """The sha256 and split of what the run was trained and calibrated on, and "train" of what was marked since.

    Its manifest must be the one it wrote.
    """
    manifest = run / MANIFEST_FILE
    if not manifest.is_file() or sha256_of(manifest) != description["provenance"]["manifest_sha256"]:
        raise ModelFileError(
            f"{manifest} is missing or was changed: without it images that the run was trained on could not be left out"
        )
    marked = {*marks_in_force(read_marks(run)), *description.get(MARKS_KEY, {}).get("sha256s", ())}
    return dict.fromkeys(marked, "train") | read_manifest_hashes(manifest)
