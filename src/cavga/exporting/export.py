"""`cavga export`: a run folder -> one file for another runtime, checked on real photographs before it is kept."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cavga.arrays import Photograph
from cavga.atomic_files import atomic_write, written_together
from cavga.data.manifest import read_manifest_paths
from cavga.errors import DataError, UsageError
from cavga.exporting.parity import ExportCheck, check_parity
from cavga.exporting.writers import WRITERS, Exportable
from cavga.images.decode import read_image
from cavga.images.tiling import Tiling
from cavga.inference.detector import AnomalyDetector
from cavga.inference.exported_files import export_report_path
from cavga.inference.exported_formats import FORMATS
from cavga.inference.graph import InferenceGraph
from cavga.inference.load_exported import files_of
from cavga.inference.torch_engine import TorchEngine
from cavga.output_lock import writing_file, writing_to
from cavga.progress import SILENT, Progress
from cavga.runs.model_json import (
    DATA_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    TRAINING_FOLDER,
    load_description,
    read_run_file,
)

NUM_CHECKED = 7  # photographs that the export is checked on
NUM_MEASURED = 64  # photographs that the ranges of INT8 are measured on


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from PyTorch; `description` is what its metadata says of it."""

    path: Path
    format: str
    precision: str
    check: ExportCheck
    description: Mapping[str, Any] = field(repr=False)


def export_run(
    run: str | Path,
    output: str | Path | None = None,
    *,
    format: str = "onnx",
    precision: str = "fp32",
    data: str | Path | None = None,
    progress: Progress = SILENT,
) -> Exported:
    """Write the model of a run folder as one file; `output` defaults to RUN/model with the format's suffix.

    It carries the thresholds in force: those of `cavga calibrate` if there are any, as for `AnomalyDetector.load`.
    The photographs it is checked on are some of those the run was made from, in `data` or where they were then; of a
    model with tiles or a region of interest they are tiles of those, as it sees them.
    Nothing is written if fp32 differs from PyTorch; fp16 and INT8 are written with their differences. The report
    lies beside the file, with ".json" added to its name. Raises UsageError, DataError or ExportError.
    """
    if format not in FORMATS or precision not in FORMATS[format].precisions:
        pairs = ", ".join(f"{name} {one}" for name, known in FORMATS.items() for one in known.precisions)
        raise UsageError(f"cannot export as {format} {precision}: expected one of {pairs}")
    suffix, stem = FORMATS[format].suffix, "model" if precision == "fp32" else f"model-{precision}"
    run = Path(run)
    target = run / f"{stem}{suffix}" if output is None else Path(output)
    if target.suffix.lower() != suffix:
        raise UsageError(f"output {target}: expected a name that ends in {suffix}")
    if not run.is_dir():
        load_description(run)  # says what is wrong with it
    # In its run folder that of a training excludes it, elsewhere other exports are nobody's business.
    with writing_to(run) if target.parent == run and run.is_dir() else writing_file(target):
        where = None if data is None else Path(data)
        return _export_run(run, target, format=format, precision=precision, data=where, progress=progress)


def export_refitted(version: Path, run: Path, photographs: Sequence[Path], *, progress: Progress = SILENT) -> Exported:
    """Write the ONNX file of a version of a run into its folder; it is checked on photographs that are still there.

    Those are `photographs` and some that the run was trained on. Raises DataError if none of them is there.
    """
    detector = AnomalyDetector.load_in_torch(version, device="cpu")
    seen: list[Photograph] = []
    for path in [path for path in photographs if path.is_file()][:NUM_CHECKED]:
        seen += [tile.copy() for tile in detector.tiling.tiles(read_image(path, detector.tiling.pixel_range))]
    with contextlib.suppress(DataError):
        seen += _seen(run, _data_folder(run, None), detector.tiling, NUM_CHECKED)
    if not seen:
        raise DataError(f"none of the photographs that {run} was trained on or that are marked is there to check it")
    return _export_model(detector, version / ONNX_FILE, seen, (), format="onnx", precision="fp32", progress=progress)


def _export_run(
    run: Path, target: Path, *, format: str, precision: str, data: Path | None, progress: Progress
) -> Exported:
    detector = AnomalyDetector.load_in_torch(run, device="cpu")
    folder = _data_folder(run, data)
    photographs = photographs_to_check(run, detector.tiling, data)
    measured = _seen(run, folder, detector.tiling, NUM_MEASURED)
    return _export_model(detector, target, photographs, measured, format=format, precision=precision, progress=progress)


def _export_model(
    detector: AnomalyDetector,
    target: Path,
    photographs: Sequence[Photograph],
    measured: Iterable[Photograph],
    *,
    format: str,
    precision: str,
    progress: Progress,
) -> Exported:
    """Write one file, checked on some photographs; the ranges of INT8 are measured on others."""
    progress.begin("export")
    engine, description = detector.engine, detector.description
    assert isinstance(engine, TorchEngine)
    assert isinstance(engine.graph, InferenceGraph)
    with tempfile.TemporaryDirectory(prefix="cavga-") as scratch:
        draft = Path(scratch) / target.name
        WRITERS[format](draft, Exportable(engine.graph, description, precision, measured))
        files = files_of(draft)  # ours: no seal and no permission are asked for
        exported = FORMATS[format].engine(files, "cpu")
        check = check_parity(engine, exported, photographs, description["calibration"], progress)
        if precision == "fp32":
            check.require_equality()
        report = {"format": format, "precision": precision, "check": check.as_dict(),
                  "weights_sha256": description["weights_sha256"], **files.hashes()}  # fmt: skip
        with written_together():  # the named one last: without it there is no model, and with it the report is its own
            atomic_write(export_report_path(target), (json.dumps(report, indent=2) + "\n").encode())
            for file in sorted(Path(scratch).iterdir(), key=lambda file: file == draft):
                atomic_write(target.with_name(file.name), file.read_bytes())
    return Exported(target, format, precision, check, description)


def photographs_to_check(run: Path, tiling: Tiling, data: Path | None = None) -> list[Photograph]:
    """A few photographs that a run was trained on, as its model sees them; raises DataError where they are gone."""
    return list(_seen(run, _data_folder(run, data), tiling, NUM_CHECKED))


def _data_folder(run: Path, data: Path | None) -> Path:
    """Where the run's photographs are."""
    noted = run / TRAINING_FOLDER / DATA_FILE
    folder = data or (Path(os.fsdecode(read_run_file(noted)).strip()) if noted.exists() else None)
    if folder is None or not folder.is_dir():
        raise DataError(
            f"the photographs that {run} was trained on are needed to check the export, and are not at {folder}: "
            "say with data (--data) which folder they are in now"
        )
    return folder


def _seen(run: Path, folder: Path, tiling: Tiling, count: int) -> Iterator[Photograph]:
    """So many of the run's photographs as the model sees them, evenly spread; of tiles, from all over them.

    There are fewer if the photographs have no more tiles than that.
    """
    paths = [folder / path for path in read_manifest_paths(run / MANIFEST_FILE)]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise DataError(f"{folder} holds none of the {len(paths)} photographs in {run / MANIFEST_FILE}: "
                        "say with data (--data) which folder they are in now")  # fmt: skip
    chosen = found[:: max(1, len(found) // count)][:count]
    for i, path in enumerate(chosen):
        photograph = read_image(path, tiling.pixel_range)
        height, width = photograph.shape[:2]
        tiling.check_fit((height, width), str(path))
        total = tiling.num_tiles((height, width))
        places = {place * total // count for place in range(i, count, len(chosen))}
        for k, tile in enumerate(tiling.tiles(photograph)):
            if k in places:
                yield tile.copy()  # a view would hold the whole photograph
