"""The engine of an exported file, by its suffix, and whether the file is the one that its report speaks of. No torch.

But for `.pt2`, which takes torch to run.
"""

import hashlib
import json
from pathlib import Path

from cavga.errors import ModelFileError, UsageError
from cavga.inference.engine import ExportedEngine
from cavga.inference.exported_formats import FORMATS, format_of


def load_exported(path: Path, device: str) -> ExportedEngine:
    """What runs a file that `cavga export` wrote; one without a known suffix is taken as ONNX.

    Raises ModelFileError if it is missing, damaged or not one of ours, MissingExtraError without its runtime, and
    UsageError for a device that it cannot run on.
    """
    found = format_of(path) or FORMATS["onnx"]
    if not found.runs_on_gpu and device == "cuda":
        suffixes = " or ".join(other.suffix for other in FORMATS.values() if other.runs_on_gpu)
        raise UsageError(
            f"--device cuda: a {found.suffix} file runs on the processor here; use the run folder or an {suffixes} file"
        )
    check_exported(path)
    return found.engine(path, device)


def export_report_path(exported: Path) -> Path:
    """Where the report of an exported file lies: beside it."""
    return exported.with_name(f"{exported.name}.json")


def check_exported(path: Path) -> None:
    """Raise ModelFileError if an exported file is missing, or not the one that the report beside it speaks of.

    Of a model of two files both have to be.
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
    """What an export's report says of its bytes; raises ModelFileError if the second of two files is missing."""
    files = _exported_files(path)
    for file in files.values():
        if not file.is_file():
            found = format_of(path)
            title = found.title if found else "it"
            raise ModelFileError(f"{file} is missing: {title} is two files; copy both, or export again")
    return {key: hashlib.sha256(file.read_bytes()).hexdigest() for key, file in files.items()}


def _exported_files(path: Path) -> dict[str, Path]:
    """The files of a model by their keys in its report: "sha256", and "bin_sha256" of a .bin beside it."""
    found = format_of(path)
    if found is None or found.companion is None:
        return {"sha256": path}
    return {"sha256": path, f"{found.companion[1:]}_sha256": path.with_suffix(found.companion)}
