"""The bytes of an exported file, read once, checked by the sum it carries and by the report beside it. No torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cavga.errors import ModelFileError
from cavga.inference.seal import is_intact
from cavga.regular_files import NotRegularError, read_regular
from cavga.structured_files import StructureError, parse_json


@dataclass(frozen=True, eq=False)
class ExportedFiles:
    """What was read of a model: the file, and the one beside it where a model is two."""

    path: Path
    content: bytes
    companion_path: Path | None = None
    companion: bytes | None = None

    def hashes(self) -> dict[str, str]:
        """What an export's report says of its bytes: "sha256", and "bin_sha256" of a .bin beside it."""
        found = {"sha256": hashlib.sha256(self.content).hexdigest()}
        if self.companion_path is not None and self.companion is not None:
            found[f"{self.companion_path.suffix[1:]}_sha256"] = hashlib.sha256(self.companion).hexdigest()
        return found


class _Report(msgspec.Struct):
    sha256: str
    bin_sha256: str | None = None
    """An earlier version's report says nothing of the .bin."""


def read_exported(path: Path, companion: str | None = None, title: str = "") -> ExportedFiles:
    """The files of a model, whose second one has the suffix `companion`; raises ModelFileError."""
    content = _read(path, f"{path}: no such model; `cavga export` writes one")
    if companion is None:
        return ExportedFiles(path, content)
    second = path.with_suffix(companion)
    missing = f"{second} is missing: {title} is two files; copy both, or export again"
    return ExportedFiles(path, content, second, _read(second, missing))


def export_report_path(exported: Path) -> Path:
    """Where the report of an exported file lies: beside it."""
    return exported.with_name(f"{exported.name}.json")


def check_exported(files: ExportedFiles) -> bool:
    """Raise ModelFileError if an exported file is not as it was written; False where nothing says how that was."""
    is_known = _check_report(files)
    sealed = is_intact(files.content, files.companion)
    if sealed is False:
        raise ModelFileError(f"{files.path} is damaged: its sum is not that of its content; copy it or export it again")
    return is_known or sealed is not None


def _check_report(files: ExportedFiles) -> bool:
    """Whether there is a report; raises ModelFileError if it speaks of other files."""
    path = export_report_path(files.path)
    if not path.exists():
        return False
    try:
        report = parse_json(read_regular(path), _Report)
    except (StructureError, NotRegularError, OSError):
        raise ModelFileError(f"{path} is not a report of `cavga export`: export again, or remove it") from None
    for key, found in files.hashes().items():
        if getattr(report, key) not in (found, None):
            file = files.path if key == "sha256" else files.companion_path
            raise ModelFileError(f"{file} is damaged: its sha256 is not the one in {path.name}; export again")
    return True


def _read(path: Path, missing: str) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise ModelFileError(missing) from None
    except NotRegularError as error:
        raise ModelFileError(str(error)) from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}; check the path and its rights") from None
