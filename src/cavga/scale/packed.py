"""One encoder, many heads: RUNS/packed/ holds the frozen encoder of all runs once, and of each run all else.

RUNS/packed/encoders/SHA.safetensors is an encoder, under the sha256 of its tensors. RUNS/packed/CATEGORY.safetensors
has a run's other tensors, large ones in fp16, and its description; both are checked when they are read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cavga.arrays import Photograph
from cavga.config.presets import from_dict
from cavga.config.schema import RunConfig
from cavga.errors import ModelFileError
from cavga.exporting.export import photographs_to_check
from cavga.images.tiling import tiling_of
from cavga.inference.torch_engine import ENCODER_PREFIX, TorchEngine, make_graph
from cavga.runs.checkpoint import load_model, load_tensors, save_tensors, tensors_sha256
from cavga.runs.model_json import load_description
from cavga.scale.work_list import PACKED_FOLDER

ENCODERS_FOLDER, SUFFIX = "encoders", ".safetensors"
SMALLEST_HALVED = 1024  # values; below that fp16 saves nothing, and scales and thresholds are small
TOLERANCE = 0.01  # standard deviations of good scores by which packing may change a score


@dataclass(frozen=True)
class Packed:
    """A packed category: its file, the bytes of it, and whether large tensors are in fp16."""

    path: Path
    num_bytes: int
    in_half: bool


def packed_path(runs: Path, category: str) -> Path:
    """Where a category's packed model lies."""
    return runs / PACKED_FOLDER / f"{category}{SUFFIX}"


def can_be_packed(config: RunConfig) -> bool:
    """Whether a model has an encoder that it can share: a frozen one, which sees whole photographs."""
    return not config.model.train_encoder and config.data.tile is None


def pack(run: Path) -> Packed | None:
    """Write the packed model of RUNS/CATEGORY, unless it is there; None of a model that cannot share its encoder.

    Tensors stay in fp32 where fp16 would move the score of a training photograph by more than TOLERANCE. Raises
    ModelFileError, and DataError where the photographs to check that with are gone.
    """
    description = load_description(run)
    config, path = from_dict(description["config"]), packed_path(run.parent, run.name)
    if not can_be_packed(config):
        return None
    if not path.is_file() or load_tensors(path)[1].get("weights_sha256") != description["weights_sha256"]:
        tensors, description = load_model(run)
        encoder = {name: tensors.pop(name) for name in list(tensors) if name.startswith(ENCODER_PREFIX)}
        sha256 = tensors_sha256(encoder)
        stored = encoder_path(run.parent, sha256)
        if not stored.is_file():
            save_tensors(stored, encoder, {"encoder_sha256": sha256})
        photographs = photographs_to_check(run, tiling_of(description, config.data.input_size))
        halved = {name: _halved(tensor) for name, tensor in tensors.items()}
        change = _change(config, tensors | encoder, halved, photographs)
        in_half = change <= TOLERANCE * _unit(description)
        record = {**description, "encoder_sha256": sha256, "in_half": in_half}
        save_tensors(path, halved if in_half else tensors, record)
    return Packed(path, path.stat().st_size, bool(load_tensors(path)[1]["in_half"]))


def encoder_path(runs: Path, sha256: str) -> Path:
    """Where an encoder lies that several categories share."""
    return runs / PACKED_FOLDER / ENCODERS_FOLDER / f"{sha256[:16]}{SUFFIX}"


def load_encoder_tensors(runs: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a shared encoder, checked; raises ModelFileError."""
    path = encoder_path(runs, sha256)
    tensors, _ = load_tensors(path)
    if tensors_sha256(tensors) != sha256:
        raise ModelFileError(f"{path} is not the encoder that its models were packed with: copy it or pack them anew")
    return tensors


def load_packed(runs: Path, category: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a packed model as they are stored, and its description; raises ModelFileError."""
    path = packed_path(runs, category)
    tensors, description = load_tensors(path)
    if (runs / category).is_dir() and load_description(runs / category)["weights_sha256"] != description[
        "weights_sha256"
    ]:
        raise ModelFileError(f"{path} is of an earlier version of {runs / category}: "
                             "`cavga train DATA --categories all` with the same output packs it again")  # fmt: skip
    return tensors, description


def _halved(tensor: Tensor) -> Tensor:
    """A large tensor in fp16; one that holds values beyond its range stays as it is."""
    if tensor.dtype != torch.float32 or tensor.numel() < SMALLEST_HALVED:
        return tensor
    half = tensor.half()
    return half if bool(half.isfinite().all()) else tensor


def _change(
    config: RunConfig, tensors: dict[str, Tensor], halved: dict[str, Tensor], photographs: list[Photograph]
) -> float:
    """By how much halving changes the score of a photograph at most."""
    full = TorchEngine(make_graph(config, dict(tensors)), torch.device("cpu"))
    whole = {**tensors, **{name: tensor.float() for name, tensor in halved.items()}}
    packed = TorchEngine(make_graph(config, whole), torch.device("cpu"))
    ready = [full.resize(photograph) for photograph in photographs]
    return float(np.abs(full.score(ready).scores - packed.score(ready).scores).max())


def _unit(description: dict[str, Any]) -> float:
    """The standard deviation of the scores that set the threshold; their range over 4 where they were not kept."""
    calibration = description["calibration"]
    scores = calibration.get("scores") or []
    spread = (calibration["score_max"] - calibration["score_min"]) / 4
    return float(np.std(scores)) if len(scores) > 1 else float(spread)
