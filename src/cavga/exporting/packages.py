"""Folders that other servers take: Triton's model repository with a manifest for KServe, and MLflow's pyfunc."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cavga._version import __version__
from cavga.atomic_files import temporary_of
from cavga.errors import UsageError
from cavga.exporting.export import Exported, export_run
from cavga.inference.exported_files import export_report_path
from cavga.inference.exported_formats import FORMATS
from cavga.inference.mlflow_model import COLUMN, OUTPUTS
from cavga.output_lock import writing_file
from cavga.progress import SILENT, Progress
from cavga.runs.model_json import ONNX_FILE

REPORT_FILE = "export.json"
PRECISIONS = ("fp32", "fp16")  # INT8 needs thresholds of its own, which are set beside a file
_TENSORS = {
    "input": [("photographs", "TYPE_UINT8", "-1, -1, -1, 3")],
    "output": [
        ("score", "TYPE_FP32", "-1"),
        ("is_anomalous", "TYPE_BOOL", "-1"),
        ("anomaly_map", "TYPE_FP32", "-1, -1, -1"),
        ("mask", "TYPE_BOOL", "-1, -1, -1"),
    ],
}
_MANIFEST = """# Where this folder lies for the cluster is yours to say: storageUri.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    model:
      modelFormat:
        name: triton
      runtime: kserve-tritonserver
      protocolVersion: v2
      storageUri: pvc://models/{folder}
"""
_MLMODEL = """artifact_path: model
flavors:
  python_function:
    data: {data}
    env:
      virtualenv: python_env.yaml
    loader_module: cavga.inference.mlflow_model
    python_version: {python}
signature:
  inputs: '{inputs}'
  outputs: '{outputs}'
  params: null
"""
_PYTHON_ENV = """python: {python}
build_dependencies:
- pip
dependencies:
- -r requirements.txt
"""


def export_as(
    run: str | Path,
    output: str | Path | None = None,
    *,
    format: str = "onnx",
    precision: str = "fp32",
    data: str | Path | None = None,
    progress: Progress = SILENT,
) -> Exported:
    """Write the model of a run folder in any format: one file as `export_run`, or a folder as `export_package`."""
    if format not in FORMATS and format not in PACKAGES:
        raise UsageError(f"cannot export as {format}: expected one of {', '.join((*FORMATS, *PACKAGES))}")
    write = export_package if format in PACKAGES else export_run
    return write(run, output, format=format, precision=precision, data=data, progress=progress)


def export_package(
    run: str | Path,
    output: str | Path | None = None,
    *,
    format: str,
    precision: str = "fp32",
    data: str | Path | None = None,
    progress: Progress = SILENT,
) -> Exported:
    """Write the model of a run folder as a folder for another server; `output` defaults to RUN/<format>.

    It holds an ONNX file, written and checked as by `export_run`, which says what `precision` and `data` are, and its
    report, export.json. The folder appears whole or not at all. Raises UsageError where it is there already, and for
    Triton where the model sees tiles or a region of interest, which a graph alone does not cut; else as `export_run`.
    """
    if format not in PACKAGES or precision not in PRECISIONS:
        pairs = ", ".join(f"{name} {one}" for name in PACKAGES for one in PRECISIONS)
        raise UsageError(f"cannot export as {format} {precision}: expected one of {pairs}")
    run = Path(run)
    target = run / format if output is None else Path(output)
    if target.exists():
        raise UsageError(f"output {target}: is there already; choose another, or remove it")
    with writing_file(target):
        draft = temporary_of(target)
        try:
            draft.mkdir()
            exported = export_run(run, draft / ONNX_FILE, precision=precision, data=data, progress=progress)
            PACKAGES[format](draft, target, _name_of(run), exported.description)
            export_report_path(draft / ONNX_FILE).rename(draft / REPORT_FILE)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return replace(exported, path=target, format=format)


def _write_triton(draft: Path, target: Path, name: str, description: Mapping[str, Any]) -> None:
    """NAME/config.pbtxt and NAME/1/model.onnx, as Triton's model repository has them, and inference-service.yaml."""
    cut = [part for part in ("tile", "roi") if part in description["preprocessing"]]
    if cut:
        raise UsageError(
            f"a model with {' and '.join(cut)} cannot go to Triton: its graph sees one piece of a photograph, and "
            "nothing there would cut them; use `cavga serve`, or --format mlflow"
        )
    (draft / name / "1").mkdir(parents=True)
    (draft / ONNX_FILE).rename(draft / name / "1" / ONNX_FILE)
    # Shapes as the graph has them: with a batch size of Triton's own, a score would have another one.
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', "max_batch_size: 0"]
    for kind, tensors in _TENSORS.items():
        fields = [f'  {{ name: "{tensor}", data_type: {type_}, dims: [ {dims} ] }}' for tensor, type_, dims in tensors]
        lines += [f"{kind} [", ",\n".join(fields), "]"]
    (draft / name / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = _MANIFEST.format(name=_dns_name(name), folder=target.name)
    (draft / "inference-service.yaml").write_text(manifest, encoding="utf-8")


def _write_mlflow(draft: Path, _target: Path, _name: str, _description: Mapping[str, Any]) -> None:
    """MLmodel beside model.onnx, and what `mlflow` installs for it; nothing in it is a pickle or a program."""
    python = ".".join(map(str, sys.version_info[:3]))
    columns = [{"type": kind, "name": name, "required": name == "error"} for name, kind in OUTPUTS.items()]
    inputs = json.dumps([{"type": "binary", "name": COLUMN, "required": True}])
    files = {
        "MLmodel": _MLMODEL.format(data=ONNX_FILE, python=python, inputs=inputs, outputs=json.dumps(columns)),
        "python_env.yaml": _PYTHON_ENV.format(python=python),
        "requirements.txt": f"cavga=={__version__}\n",
    }
    for name, text in files.items():
        (draft / name).write_text(text, encoding="utf-8")


def _name_of(run: Path) -> str:
    """What a model is called elsewhere: as its run folder, in characters that every server takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", run.absolute().name) or "model"


def _dns_name(name: str) -> str:
    """The same as Kubernetes takes it: lower case, no dots or underscores, at most 63 characters, a letter first."""
    lower = re.sub(r"[^a-z0-9-]", "-", name.lower())[:63].strip("-")
    return lower if lower[:1].isalpha() else f"model-{lower}"[:63].strip("-")


PACKAGES: dict[str, Callable[[Path, Path, str, Mapping[str, Any]], None]] = {
    "triton": _write_triton,
    "mlflow": _write_mlflow,
}
