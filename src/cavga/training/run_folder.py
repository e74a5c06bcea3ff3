"""A run folder: what training starts from and leaves behind, apart from the weights."""

import hashlib
import json
import logging
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cavga._version import __version__
from cavga.atomic_files import atomic_write
from cavga.calibration.thresholds import num_needed
from cavga.config.backbones import DEFAULT_NETWORK
from cavga.config.schema import DataConfig, RunConfig, as_dict, is_trained_on_made, is_weakly_supervised
from cavga.config.toml import write_toml
from cavga.data.catalog import load_catalog, recognise_layout
from cavga.data.manifest import read_manifest_hashes, sha256_of, write_manifest
from cavga.data.records import ANOMALOUS, CLASS_LAYOUTS, NORMAL, Catalog, ImageRecord, draw_anomalous, hold_out
from cavga.errors import DataError, ModelFileError, ResumeError, UsageError
from cavga.images.tiling import Framing, framing_for
from cavga.runs.model_json import DATA_FILE, MANIFEST_FILE, ROI_FILE, TRAINING_FOLDER
from cavga.training.inputs import read_usable

CONFIG_FILE = "config.toml"
FINGERPRINT_FILE = "fingerprint"

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class TrainingData:
    """The images of a run: normal ones, cut into two, and anomalous ones for variants that learn from them."""

    catalog: Catalog
    train: tuple[ImageRecord, ...]
    calibration: tuple[ImageRecord, ...]
    anomalous: tuple[ImageRecord, ...]
    """Labelled bad images of a w or s run; () for u."""
    drawn: tuple[str, ...]
    """The relative paths of `anomalous` if it was drawn from the test set, () if it was labelled for training."""
    hashes: dict[str, str]
    """sha256 of every file, by its relative path."""
    left_out: tuple[str, ...]
    """Files that are not used, and why, one line each."""
    framing: Framing
    sizes: dict[str, tuple[int, int]]
    """Height and width of every photograph, by its relative path."""

    def hashes_of(self, records: Sequence[ImageRecord]) -> list[str]:
        return [self.hashes[record.relative_path] for record in records]

    def num_pieces(self, records: Sequence[ImageRecord]) -> list[int]:
        """How many images a model sees of each photograph."""
        return [self.framing.num_pieces(self.sizes[record.relative_path]) for record in records]

    def content_hash(self) -> str:
        """One sha256 for what is trained and calibrated on, and for which is which."""
        parts = [self.hashes_of(self.train), self.hashes_of(self.calibration)]
        if self.anomalous:
            parts.append(self.hashes_of(self.anomalous))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def gather(data: Path, config: RunConfig) -> TrainingData:
    """Find, read and split the training images; raises DataError naming every unreadable one."""
    chosen, framing = config.data, framing_for(config.data)
    catalog = load_catalog(
        data,
        layout=chosen.layout,
        category=chosen.category,
        normal_class=chosen.normal_class,
        mask_cut=chosen.mask_cut,
    )
    normal = [record for record in catalog.split("train") if record.label == NORMAL]
    held = [record for record in catalog.split("calibration") if record.label == NORMAL]
    if not normal:
        where = f"train/{catalog.category}" if catalog.layout in CLASS_LAYOUTS else "train/good"
        raise DataError(f"{data} holds no good images to train on; expected them in {where}")
    bad, is_drawn = _labelled_bad(catalog, config)
    hashes, sizes, unreadable = read_usable([*normal, *held, *bad], framing, skip_bad=config.data.skip_bad)
    train, calibration, anomalous = (
        tuple(record for record in records if record.relative_path in hashes) for records in (normal, held, bad)
    )
    if not calibration:
        train, calibration = _split(train, config)
    num_good, num_read = len(normal) + len(held), len(train) + len(calibration)
    if not train or num_read < 2:
        raise DataError(
            f"{data} holds {num_good} good images, {num_good - num_read} of them unreadable: at least 2 are needed, "
            "one to train on and one to set thresholds with"
        )
    if bad and not anomalous:
        raise DataError(f"{data}: none of the {len(bad)} labelled bad images can be read: {unreadable[-1]}")
    drawn = tuple(record.relative_path for record in anomalous) if is_drawn else ()
    left_out = unreadable + [
        f"{path} was passed over: a copy by name, or outside the layout" for path in catalog.skipped
    ]
    inputs = TrainingData(catalog, train, calibration, anomalous, drawn, hashes, tuple(left_out), framing, sizes)
    _check_labels(inputs)
    return inputs


def load_like_run(settings: Mapping[str, Any], data: Path, *, category: str | None, mask_cut: float | None) -> Catalog:
    """The catalog of `data` as a run with these data settings would read it, where nothing else is asked for."""
    needs_class = category is None and data.is_dir() and recognise_layout(data) in CLASS_LAYOUTS
    return load_catalog(
        data,
        category=category,
        normal_class=settings.get("normal_class") if needs_class else None,  # older runs have no such settings
        mask_cut=settings.get("mask_cut", DataConfig.mask_cut) if mask_cut is None else mask_cut,
    )


def _labelled_bad(catalog: Catalog, config: RunConfig) -> tuple[tuple[ImageRecord, ...], bool]:
    """The labelled bad images to train on, and whether they had to be drawn from the test set."""
    labelled = tuple(record for record in catalog.split("train") if record.label == ANOMALOUS)
    if config.model.variant.endswith("-u"):
        return (), False
    if labelled and is_trained_on_made(config.model):
        logger.warning("the %d images labelled bad are not used: %s makes its own", len(labelled), config.model.variant)
        return (), False
    if labelled and config.data.tile is not None:
        logger.warning(
            "the %d images labelled bad are not used: which of their tiles are bad is not known", len(labelled)
        )
        return (), False
    if labelled or not is_weakly_supervised(config.model):
        return labelled, False  # an s variant draws none: it can do without
    tested = [record for record in catalog.split("test") if record.label == ANOMALOUS]
    drawn = draw_anomalous(tested, fraction=config.data.anomalous_fraction, seed=config.training.seed)
    if drawn and len(drawn) == len(tested):
        logger.warning("all %d bad test images were drawn to train on: none is left to test with", len(tested))
    if not drawn:
        raise DataError(
            f"{catalog.root} holds no labelled bad images, which variant {config.model.variant} needs: expected "
            "train/<name> beside train/good, label 1 with split train in a manifest, or test/<defect> to draw from"
        )
    return drawn, True


def _check_labels(inputs: TrainingData) -> None:
    """Refuse an image that is labelled good and bad at once."""
    good = {inputs.hashes[record.relative_path]: record for record in (*inputs.train, *inputs.calibration)}
    for record in inputs.anomalous:
        twin = good.get(inputs.hashes[record.relative_path])
        if twin is not None:
            raise DataError(
                f"{inputs.catalog.root}: {record.relative_path}, labelled bad, has the same content as "
                f"{twin.relative_path}, labelled good; remove the wrong one"
            )


def _split(
    normal: tuple[ImageRecord, ...], config: RunConfig
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """Hold out calibration images; none where folds can be used instead, so that every image is learnt from.

    An aggregated prior is fitted to each of its folds anyway, but C of a w variant to none. Elsewhere folds need a
    latent that is fitted again in seconds, and are used where holding out leaves too few to promise the rate. A C that
    was trained on these very images calls them normal whatever is fitted after it (docs/decisions/0014).
    """
    is_conformal = config.calibration.threshold_rule == "conformal"
    if is_conformal and config.model.prior == "aggregated" and not is_weakly_supervised(config.model):
        return normal, ()
    train, held = hold_out(normal, fraction=config.data.calibration_fraction, seed=config.training.seed)
    settings = config.calibration
    is_too_few = is_conformal and len(held) < num_needed(settings.false_alarm_rate)
    if is_too_few and config.model.latent == "whitened" and len(normal) > 1:
        return normal, ()
    return train, held


def fingerprint(data: TrainingData, config: RunConfig) -> str:
    """Identifies what a training run computes: images, split and settings. `device` is not part of it."""
    settings = as_dict(config)
    settings["training"] = {key: value for key, value in settings["training"].items() if key != "device"}
    for name in ("tile", "roi"):  # as what they are, not as the file they come from
        del settings["data"][name]
    gan_weights = settings["model"].pop("gan_weights")
    if gan_weights is not None:
        settings["gan_weights"] = sha256_of(Path(gan_weights))
    if not data.framing.is_plain:
        settings["framing"] = data.framing.identity()
    return hashlib.sha256(json.dumps([data.content_hash(), settings], sort_keys=True).encode()).hexdigest()


def check_output(run: Path, *, resume: bool) -> None:
    """Refuse an output that is a file, or that holds a run which is not resumed."""
    if run.is_file():
        raise UsageError(f"--output {run} is a file: expected a folder to write the run to")
    if not resume and (run / CONFIG_FILE).exists():
        raise UsageError(f"{run} already holds a run: go on with --resume, or choose another --output")


def check_resumable(run: Path, current: str, *, resume: bool) -> None:
    """Refuse to go on with other images or settings, before anything in the folder is touched."""
    path = run / TRAINING_FOLDER / FINGERPRINT_FILE
    if not resume:
        return
    if not path.is_file() and (run / CONFIG_FILE).exists():
        raise ResumeError(f"{run} holds a run that cannot be resumed: choose another --output")
    if not path.is_file():
        logger.warning("there is nothing to resume in %s: starting anew", run)
    elif path.read_text(encoding="utf-8").strip() != current:
        raise ResumeError(
            f"{run} was started with other images or settings, so it cannot go on: "
            "use the same ones, or choose another --output without --resume"
        )


def write_inputs(run: Path, inputs: TrainingData, config: RunConfig, *, identity: str) -> None:
    """Write what the run starts from: fingerprint, config.toml and manifest.csv."""
    atomic_write(run / TRAINING_FOLDER / FINGERPRINT_FILE, identity.encode())
    atomic_write(run / CONFIG_FILE, write_toml(config).encode())
    atomic_write(run / TRAINING_FOLDER / DATA_FILE, str(inputs.catalog.root.resolve()).encode())
    used = [replace(record, split="train") for record in (*inputs.train, *inputs.anomalous)]
    used += [replace(record, split="calibration") for record in inputs.calibration]
    write_manifest(run / MANIFEST_FILE, used, inputs.catalog.root, inputs.hashes)
    mask = None if inputs.framing.roi is None else inputs.framing.roi.png()
    if mask is not None:
        atomic_write(run / ROI_FILE, mask)


def used_images(run: Path, description: Mapping[str, Any]) -> dict[str, str]:
    """sha256 -> split of what the run was trained and calibrated on; its manifest must be the one it wrote."""
    manifest = run / MANIFEST_FILE
    if not manifest.is_file() or sha256_of(manifest) != description["provenance"]["manifest_sha256"]:
        raise ModelFileError(
            f"{manifest} is missing or was changed: without it images that the run was trained on could not be left out"
        )
    return read_manifest_hashes(manifest)


def encoder_label(config: RunConfig) -> str:
    """Which encoder this is, for tables: "R to layer3, frozen, ImageNet"."""
    model = config.model
    kind = "R" if model.variant.startswith("r") else "D"
    if model.encoder not in (None, DEFAULT_NETWORK):
        kind += f" ({model.encoder})"
    last = f"layer{model.stages[-1]}" if model.stages else "?"
    source = {"imagenet": "ImageNet", "none": "no pretraining"}.get(model.weights or "", Path(model.weights or "").name)
    if model.gan_weights is not None and model.variant.startswith("d"):
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
        **({} if config.data.tile is None else {"train_tiles": sum(data.num_pieces(data.train))}),
        "train_anomalous": len(data.anomalous),
        "drawn": list(data.drawn),
        "calibration": len(data.calibration),
        "left_out": list(data.left_out),
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
