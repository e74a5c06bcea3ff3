"""A run folder as training finds and leaves it, weights apart: may it be resumed, config.toml, manifest, provenance."""

import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cavga._version import __version__
from cavga.atomic_files import atomic_write
from cavga.config.backbones import DEFAULT_BACKBONE
from cavga.config.schema import RunConfig, as_dict
from cavga.config.toml import write_toml
from cavga.data.manifest import sha256_of, write_manifest
from cavga.errors import ResumeError, UsageError
from cavga.regular_files import real_path
from cavga.runs.model_json import CONFIG_FILE, DATA_FILE, MANIFEST_FILE, ROI_FILE, TRAINING_FOLDER
from cavga.training.inputs import TrainingData

FINGERPRINT_FILE = "fingerprint"

logger = logging.getLogger("cavga")


def fingerprint(data: TrainingData, config: RunConfig) -> str:
    """Identifies what a training run computes: images, split and settings. `device` is not part of it."""
    settings = as_dict(config)
    settings["training"] = {key: value for key, value in settings["training"].items() if key != "device"}
    for name in ("tile", "roi"):  # as what they are, not as the file they come from
        del settings["data"][name]
    gan_weights = settings["model"].pop("gan_weights")
    if gan_weights is not None:
        settings["gan_weights"] = sha256_of(Path(gan_weights))
    if not data.tiling.is_plain:
        settings["framing"] = data.tiling.identity()
    return hashlib.sha256(json.dumps([data.content_hash(), settings], sort_keys=True).encode()).hexdigest()


def check_output(run: Path, *, resume: bool) -> None:
    """Refuse an output that is a file, or that holds a run which is not resumed."""
    if run.is_file():
        raise UsageError(f"output {run} is a file: expected a folder to write the run to")
    if not resume and (run / CONFIG_FILE).exists():
        raise UsageError(f"{run} already holds a run: go on with resume (--resume), or choose another output")


def check_resumable(run: Path, current: str, *, resume: bool) -> None:
    """Refuse to go on with other images or settings, before anything in the folder is touched."""
    path = run / TRAINING_FOLDER / FINGERPRINT_FILE
    if not resume:
        return
    if not path.is_file() and (run / CONFIG_FILE).exists():
        raise ResumeError(f"{run} holds a run that cannot be resumed: choose another output")
    if not path.is_file():
        logger.warning("there is nothing to resume in %s: starting anew", run)
    elif path.read_text(encoding="utf-8").strip() != current:
        raise ResumeError(
            f"{run} was started with other images or settings, so it cannot go on: "
            "use the same ones, or choose another output without resume (--resume)"
        )


def write_inputs(run: Path, inputs: TrainingData, config: RunConfig, *, identity: str) -> None:
    """Write what the run starts from: fingerprint, config.toml and manifest.csv."""
    atomic_write(run / TRAINING_FOLDER / FINGERPRINT_FILE, identity.encode())
    atomic_write(run / CONFIG_FILE, write_toml(config).encode(errors="surrogateescape"))
    atomic_write(run / TRAINING_FOLDER / DATA_FILE, os.fsencode(real_path(inputs.catalog.root)))
    used = [replace(record, split="train") for record in (*inputs.train, *inputs.anomalous)]
    used += [replace(record, split="calibration") for record in inputs.calibration]
    write_manifest(run / MANIFEST_FILE, used, inputs.catalog.root, inputs.hashes)
    mask = None if inputs.tiling.roi is None else inputs.tiling.roi.png()
    if mask is not None:
        atomic_write(run / ROI_FILE, mask)


def encoder_label(config: RunConfig) -> str:
    """Which encoder this is, for tables: "R to layer3, frozen, ImageNet"."""
    model = config.model
    kind = model.backbone.upper()
    if model.encoder not in (None, DEFAULT_BACKBONE):
        kind += f" ({model.encoder})"
    last = f"layer{model.stages[-1]}" if model.stages else "?"
    source = {"imagenet": "ImageNet", "none": "no pretraining"}.get(model.weights or "", Path(model.weights or "").name)
    if model.gan_weights is not None and model.backbone == "d":
        source = f"GAN weights {Path(model.gan_weights).name}"
    return f"{kind} to {last}, {'trained' if model.train_encoder else 'frozen'}, {source}"


def provenance(
    data: TrainingData,
    config: RunConfig,
    *,
    device: str,
    seconds: float,
    gan_weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Where a model comes from: versions, machine, data, seed, the file of GAN weights if there was one."""
    import torch

    return {
        "encoder": encoder_label(config),
        **(gan_weights or {"gan_weights": None}),
        "seed": config.training.seed,
        "data": data.catalog.root.name,
        "layout": data.catalog.layout,
        "data_sha256": data.content_hash(),
        "train": len(data.train),
        **({} if config.data.tile is None else {"train_tiles": sum(data.num_tiles(data.train))}),
        "train_anomalous": len(data.anomalous),
        "drawn": list(data.drawn),
        "calibration": len(data.calibration),
        "left_out": list(data.left_out),
        **({"dropped": list(data.dropped)} if config.data.drop_suspicious else {}),
        "device": device,
        "threads": torch.get_num_threads(),
        "training_seconds": round(seconds, 1),
        **versions(),
    }


def versions() -> Mapping[str, str]:
    """Versions of what computes."""
    import numpy
    import torch

    return {
        "cavga": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "platform": sys.platform,
    }
