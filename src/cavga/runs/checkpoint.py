"""Files of a run: inference weights and model.json, and, apart from them, the state that training resumes from.

Tensors are safetensors, everything else JSON; nothing is ever unpickled. model.json carries the
sha256 of the weights and its own, and both are checked on loading.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import load, save
from torch import Tensor, optim

from cavga.atomic_files import atomic_write
from cavga.errors import ModelFileError
from cavga.runs.model_json import (
    MODEL_FILE,
    WEIGHTS_FILE,
    checksum_matches,
    load_description,
    read_run_file,
    save_description,
    with_checksum,
)
from cavga.structured_files import Document, StructureError, parse_json

TENSORS_SUM = "tensors_sha256"


def save_model(run: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write the inference weights and model.json; the weights first, so that a model.json is complete."""
    content = _serialise(tensors)
    atomic_write(run / WEIGHTS_FILE, content)
    save_description(run, description, weights_sha256=hashlib.sha256(content).hexdigest())


def load_model(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and model.json of a run folder, checked; raises ModelFileError."""
    description = load_description(run)
    weights = run / WEIGHTS_FILE
    content = read_run_file(weights)
    if hashlib.sha256(content).hexdigest() != description["weights_sha256"]:
        raise ModelFileError(f"{weights} is damaged: its sha256 is not the one in {MODEL_FILE}; train again")
    return _tensors_in(content, weights), description


def save_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON record as one file, whole or not at all, with the sha256 of both in the record."""
    document = with_checksum({**record, TENSORS_SUM: tensors_sha256(tensors)})
    atomic_write(path, _serialise(tensors, {"record": json.dumps(parse_json(document, dict))}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Document]:
    """The inverse of `save_tensors`; the record of a file that others wrote is empty. Raises ModelFileError."""
    content = read_run_file(path)
    tensors = _tensors_in(content, path)
    try:
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")], _Header)
        record = parse_json(header.metadata.get("record", "{}"), dict)
    except StructureError as error:
        raise ModelFileError(f"{path} cannot be read as safetensors: {error}") from None
    is_summed = TENSORS_SUM in record or "sha256" in record  # a state of an earlier version has neither
    if is_summed and not (checksum_matches(record) and record.get(TENSORS_SUM) == tensors_sha256(tensors)):
        raise ModelFileError(f"{path} is damaged: its content is not that of its sha256; copy it or write it anew")
    return tensors, record


class _Header(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(default_factory=dict, name="__metadata__")


def _tensors_in(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        return load(content)
    except Exception as error:  # SafetensorError, and what torch says of shapes that cannot be
        raise ModelFileError(f"{path} cannot be read as safetensors: {error}") from None


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """One sha256 for names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape} ".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


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
