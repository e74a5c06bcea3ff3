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

from cavga.atomic_files import atomic_write
from cavga.errors import ModelFileError
from cavga.runs.model_json import MODEL_FILE, WEIGHTS_FILE, load_description, save_description


def save_model(run: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write the inference weights and model.json; the weights first, so that a model.json is complete."""
    content = _serialise(tensors)
    atomic_write(run / WEIGHTS_FILE, content)
    save_description(run, description, weights_sha256=hashlib.sha256(content).hexdigest())


def load_model(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and model.json of a run folder, checked; raises ModelFileError."""
    description = load_description(run)
    weights = run / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelFileError(f"{weights} is missing: {run} is not a whole run folder")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != description["weights_sha256"]:
        raise ModelFileError(f"{weights} is damaged: its sha256 is not the one in {MODEL_FILE}; train again")
    return load_tensors(weights)[0], description


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
