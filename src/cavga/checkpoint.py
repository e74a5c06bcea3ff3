"""Files of a run: inference weights and model.json, and, apart from them, the state that training resumes from.

Tensors are safetensors, everything else JSON; nothing is ever unpickled. model.json carries the
sha256 of the weights and its own, and both are checked on loading.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, optim

from cavga.errors import ModelFileError
from cavga.files import atomic_write

FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
MODEL_FILE = "model.json"
TRAINING_FOLDER = "training"


def save_model(run: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write the inference weights and model.json; the weights first, so that a model.json is complete."""
    content = _serialise(tensors)
    atomic_write(run / WEIGHTS_FILE, content)
    document = {
        "format_version": FORMAT_VERSION,
        **description,
        "weights_sha256": hashlib.sha256(content).hexdigest(),
    }
    document["sha256"] = _document_hash(document)
    atomic_write(run / MODEL_FILE, (json.dumps(document, indent=2) + "\n").encode())


def load_model(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and model.json of a run folder, checked; raises ModelFileError."""
    description = load_description(run)
    weights = run / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelFileError(f"{weights} is missing: {run} is not a whole run folder")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != description["weights_sha256"]:
        raise ModelFileError(f"{weights} is damaged: its sha256 is not the one in {MODEL_FILE}; train again")
    return load_tensors(weights)[0], description


def load_description(run: Path) -> dict[str, Any]:
    """Read and check model.json; raises ModelFileError."""
    path = run / MODEL_FILE
    if not path.is_file():
        what = "no such model" if not run.exists() else f"not a run folder (it has no {MODEL_FILE})"
        raise ModelFileError(f"{run}: {what}; `cavga train` writes one")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document.pop("sha256")
        version = document["format_version"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelFileError(f"{path} is not a model description written by cavga") from None
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this cavga reads version {FORMAT_VERSION}")
    if _document_hash(document) != found:
        raise ModelFileError(f"{path} was changed after it was written (its sha256 differs); train again")
    return document


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and a JSON record as one file, whole or not at all."""
    atomic_write(path, _serialise(tensors, {"record": json.dumps(metadata)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `save_tensors`; raises ModelFileError."""
    try:
        with safe_open(path, framework="pt") as file:
            record = (file.metadata() or {}).get("record", "{}")
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(record)  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read as safetensors: {error}") from None


def flatten_optimizer(optimizer: optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The optimizer's state as named tensors."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{prefix}.{i}.{key}": tensor for i, entry in state.items() for key, tensor in entry.items()}


def restore_optimizer(optimizer: optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The inverse of `flatten_optimizer`, onto an optimizer of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _serialise(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    return save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, metadata)


def _document_hash(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
