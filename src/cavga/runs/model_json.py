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
EXPORT_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}  # of the files of `cavga export`, by format
EXPORT_PRECISIONS = {"onnx": ("fp32", "fp16", "int8"), "openvino": ("fp32", "int8"), "torch": ("fp32",)}
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


def export_report_path(exported: Path) -> Path:
    """Where the report of an exported file lies: beside it."""
    return exported.with_name(f"{exported.name}.json")


def check_exported(path: Path) -> None:
    """Raise ModelFileError if an exported file is missing, or not the one that the report beside it speaks of.

    An OpenVINO model is two files, and both have to be.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: no such model; `cavga export` writes one")
    report = export_report_path(path)
    if not report.is_file():
        return  # a copy without its report is as good
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        expected = {key: content["sha256"] if key == "sha256" else content.get(key) for key in _exported_files(path)}
    except (ValueError, KeyError, TypeError):
        raise ModelFileError(f"{report} is not a report of `cavga export`: export again, or remove it") from None
    for key, found in exported_hashes(path).items():
        if expected[key] not in (found, None):  # an earlier version's report says nothing of the .bin
            file = _exported_files(path)[key]
            raise ModelFileError(f"{file} is damaged: its sha256 is not the one in {report.name}; export again")


def exported_hashes(path: Path) -> dict[str, str]:
    """What an export's report says of its bytes; raises ModelFileError if the .bin of an .xml is missing."""
    for file in _exported_files(path).values():
        if not file.is_file():
            raise ModelFileError(f"{file} is missing: an OpenVINO model is two files; copy both, or export again")
    return {key: hashlib.sha256(file.read_bytes()).hexdigest() for key, file in _exported_files(path).items()}


def _exported_files(path: Path) -> dict[str, Path]:
    is_two = path.suffix.lower() == ".xml"
    return {"sha256": path} | ({"bin_sha256": path.with_suffix(".bin")} if is_two else {})


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
