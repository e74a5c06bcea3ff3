"""model.json: what a run's model is, with the sha256 of the weights and its own. No torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cavga.atomic_files import atomic_write
from cavga.data.manifest import read_manifest_hashes, sha256_of
from cavga.errors import ModelFileError

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
MODEL_FILE = "model.json"
ONNX_FILE = "model.onnx"
ROI_FILE = "roi.png"  # for people; a model takes its region of interest from its description
TRAINING_FOLDER = "training"
LOG_FILE = "log.jsonl"
DATA_FILE = "data_folder"  # in the training folder: where the photographs were when the run was trained
MANIFEST_FILE = "manifest.csv"
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
    return document.get("sha256") == _document_hash(content)


def load_description(run: Path) -> dict[str, Any]:
    """Read and check model.json; raises ModelFileError."""
    path = run / MODEL_FILE
    if not path.is_file():
        what = "no such model" if not run.exists() else f"not a run folder (it has no {MODEL_FILE})"
        raise ModelFileError(f"{run}: {what}; `cavga train` writes one")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        is_intact = checksum_matches(document)
        del document["sha256"]
        check_version(document, path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{path} is not a model description written by cavga") from None
    if not is_intact:
        raise ModelFileError(f"{path} was changed after it was written (its sha256 differs); train again")
    return document


def check_version(description: Mapping[str, Any], path: Path) -> None:
    """Raise ModelFileError if a model's description has another format than this cavga reads, KeyError without one."""
    version = description["format_version"]
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this cavga reads version {FORMAT_VERSION}")


def _document_hash(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def used_images(run: Path, description: Mapping[str, Any]) -> dict[str, str]:
    """sha256 -> split of what the run was trained and calibrated on; its manifest must be the one it wrote."""
    manifest = run / MANIFEST_FILE
    if not manifest.is_file() or sha256_of(manifest) != description["provenance"]["manifest_sha256"]:
        raise ModelFileError(
            f"{manifest} is missing or was changed: without it images that the run was trained on could not be left out"
        )
    return read_manifest_hashes(manifest)
