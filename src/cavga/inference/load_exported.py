"""The engine of an exported file, by its suffix. No torch, but for `.pt2`, which takes torch to run."""

import logging
from pathlib import Path

from cavga.errors import ModelFileError, UsageError
from cavga.inference.engine import ExportedEngine
from cavga.inference.exported_files import ExportedFiles, check_exported, read_exported
from cavga.inference.exported_formats import FORMATS, format_of

logger = logging.getLogger("cavga")


def load_exported(path: Path, device: str, *, runs_code: bool = False) -> ExportedEngine:
    """What runs a file that `cavga export` wrote; one without a known suffix is taken as ONNX.

    `runs_code` allows formats whose files can run any program when they are read. Raises ModelFileError if the file is
    missing, damaged, not one of ours or not allowed, MissingExtraError without its runtime, and UsageError for a device
    that it cannot run on.
    """
    found = format_of(path) or FORMATS["onnx"]
    if not found.runs_on_gpu and device == "cuda":
        suffixes = " or ".join(other.suffix for other in FORMATS.values() if other.runs_on_gpu)
        raise UsageError(
            f"device cuda: a {found.suffix} file runs on the processor here; use the run folder or an {suffixes} file"
        )
    if found.runs_code and not runs_code:
        safe = " or ".join(other.suffix for other in FORMATS.values() if not other.runs_code)
        raise ModelFileError(
            f"{path} is not read, because a {found.suffix} file can run any program: use the run folder or an {safe} "
            f"file; of your own making, runs_code=True (`cavga predict --allow-pt2-which-runs-code`) reads it"
        )
    files = files_of(path)
    is_checked = check_exported(files)
    engine = found.engine(files, device)
    if not is_checked:  # said now, because of a file that is none an error is enough
        logger.warning(
            "%s carries no sum and has no report beside it, so damage cannot be seen: `cavga export RUN` renews it",
            path,
        )
    return engine


def files_of(path: Path) -> ExportedFiles:
    """The bytes of an exported file, and of the one beside it, as its suffix wants it; raises ModelFileError."""
    found = format_of(path) or FORMATS["onnx"]
    return read_exported(path, found.companion, found.title)
