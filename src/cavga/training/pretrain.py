"""Pretraining of the DC-GAN parts on a folder of any images, in the paper Celeb-A's (docs/decisions/0018).

The networks of d-u are trained with L + L_adv by the loop that trains everything else.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cavga._version import __version__
from cavga.atomic_files import atomic_write
from cavga.config.resolve import resolve
from cavga.config.schema import RunConfig, epochs_of, images_per_epoch
from cavga.data.catalog import load_catalog
from cavga.data.dataset import TrainingImages, cache_images
from cavga.errors import UsageError
from cavga.images.input_size import settled_size
from cavga.images.tiling import Tiling
from cavga.inference.torch_engine import choose_device
from cavga.model.build import build
from cavga.output_lock import writing_file
from cavga.progress import SILENT, Progress
from cavga.runs.model_json import LOG_FILE, TRAINING_FOLDER
from cavga.structured_files import parse_json
from cavga.training.gan_weights import write_gan_weights
from cavga.training.inputs import TrainingData, read_usable
from cavga.training.loop import Networks, make_networks
from cavga.training.loop import train as train_networks
from cavga.training.run_folder import check_output, check_resumable, fingerprint, write_inputs
from cavga.training.train import deterministic

SUFFIX = ".safetensors"

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class Pretrained:
    """What `pretrain` did."""

    path: Path
    log: Path
    origin: dict[str, Any]
    """What the networks were trained on and how, as the file says it."""
    left_out: tuple[str, ...]
    """Files that were not used, and why, one line each."""


def pretrain(
    folder: Path,
    output: Path,
    config: RunConfig,
    *,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Pretrained:
    """Train encoder, decoder and discriminator of d-u on every image below `folder`; write them to `output`.

    `config` is a preset with `cavga.config.presets.PRETRAINING`. Beside `output` lies NAME.log.jsonl, and until it is
    finished NAME.unfinished, from which `resume` goes on. Raises DataError before anything is written if an image
    cannot be read, UsageError if `output` is there already, ResumeError if images or settings changed since.
    """
    config = resolve(config)
    with writing_file(output):
        return _pretrain(folder, output, config, resume=resume, progress=progress)


def _pretrain(folder: Path, output: Path, config: RunConfig, *, resume: bool, progress: Progress) -> Pretrained:
    work, log = output.with_suffix(".unfinished"), output.with_suffix(f".{LOG_FILE}")
    _check_output(output, work, config, resume=resume)
    device = choose_device(config.training.device)
    inputs = _gather(folder, config, progress)
    config = inputs.settled(config)
    identity = fingerprint(inputs, config)
    check_resumable(work, identity, resume=resume)
    with deterministic(config.training.seed, device):
        networks = make_networks(build(config.model, image_size=config.data.input_size), config, device)
        write_inputs(work, inputs, config, identity=identity)
        cached = cache_images(
            inputs.train,
            inputs.hashes_of(inputs.train),
            size=config.data.input_size,
            folder=work / TRAINING_FOLDER,
            progress=progress,
        )
        images = TrainingImages(cached, num_normal=len(cached))
        train_networks(networks, images, config, folder=work, fingerprint=identity, resume=resume, progress=progress)
    origin = _finish(networks, inputs, config, output=output, work=work, log=log)
    del images, cached  # Windows removes no file that is mapped
    shutil.rmtree(work)
    return Pretrained(output, log, origin, inputs.left_out)


def _check_output(output: Path, work: Path, config: RunConfig, *, resume: bool) -> None:
    if config.model.variant != "d-u" or config.model.gan_weights is not None or config.loss.adversarial_weight == 0:
        raise UsageError("pretraining is of variant d-u with a discriminator, from random weights")
    if output.suffix != SUFFIX:
        raise UsageError(f"--output {output}: expected a file that ends in {SUFFIX}")
    if output.exists():
        raise UsageError(f"{output} is there already: choose another --output, or remove it")
    check_output(work, resume=resume)


def _gather(folder: Path, config: RunConfig, progress: Progress) -> TrainingData:
    """Every image below the folder, whatever its layout; raises DataError naming every unreadable one."""
    catalog = load_catalog(folder, layout="folder")
    usable = read_usable(catalog.records, None, skip_bad=config.data.skip_bad, progress=progress)
    copies = [f"{path} was passed over: a copy by name" for path in catalog.skipped]
    return TrainingData(
        catalog,
        train=tuple(record for record in catalog.records if record.relative_path in usable.hashes),
        calibration=(),
        anomalous=(),
        drawn=(),
        hashes=usable.hashes,
        left_out=(*usable.errors, *copies),
        tiling=Tiling(settled_size(config.data, list(usable.sizes.values()))),
        sizes=usable.sizes,
    )


def _finish(
    networks: Networks, inputs: TrainingData, config: RunConfig, *, output: Path, work: Path, log: Path
) -> dict[str, Any]:
    """Write the weights and the log; returns what the weights' file says of their origin."""
    settings, num_images = config.training, len(inputs.train)
    lines = (work / LOG_FILE).read_text(encoding="utf-8")
    last = parse_json(lines.splitlines()[-1], dict)
    origin = {
        "data": inputs.catalog.root.name,
        "data_sha256": inputs.content_hash(),
        "images": num_images,
        "preset": config.preset,
        "image_size": list(config.data.input_size),
        "seed": settings.seed,
        "epochs": epochs_of(config),
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "steps": epochs_of(config) * -(-images_per_epoch(settings, num_images) // settings.batch_size),
        "losses": {name: last[name] for name in ("reconstruction", "kl", "generator", "discriminator")},
        "cavga": __version__,
    }
    atomic_write(log, lines.encode())
    write_gan_weights(output, networks.model, networks.discriminator, config, origin)
    return origin
