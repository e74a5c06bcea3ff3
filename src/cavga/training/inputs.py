"""What a run trains on: images found, read once, hashed, and split into those that fit and those that calibrate."""

import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cavga.arrays import Size
from cavga.calibration.rules import RULES, num_needed
from cavga.config.schema import RunConfig
from cavga.config.variant import TrainingPlan
from cavga.data.catalog import load_catalog
from cavga.data.manifest import sha256_of
from cavga.data.readers.layouts import CLASS_LAYOUTS
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, ImageRecord, draw_anomalous, hold_out
from cavga.errors import DataError
from cavga.images.decode import read_image, remarks_lines, survey_photograph
from cavga.images.pixel_range import PixelRange, range_of_set
from cavga.images.tiling import Tiling, tiling_for

logger = logging.getLogger("cavga")


def read_usable(
    records: Sequence[ImageRecord], tiling: Tiling, *, skip_bad: bool
) -> tuple[dict[str, str], dict[str, Size], list[str]]:
    """The sha256 and size of every usable image by its relative path, and an error for each of the others.

    Usable is what can be read and fits the region of interest. Raises DataError, which names those that are not,
    unless `skip_bad`.
    """
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda record: _examine(record, tiling), records))
    hashes = {path: sha256 for path, sha256, _, _ in read if sha256}
    sizes = {path: size for path, _, size, _ in read if size}
    errors = [error for _, _, _, error in read if error]
    if errors and not skip_bad:
        listed = "; ".join(errors[:5]) + (f"; and {len(errors) - 5} more" if len(errors) > 5 else "")
        raise DataError(f"{len(errors)} training images cannot be read (--skip-bad trains without them): {listed}")
    return hashes, sizes, errors


def _examine(record: ImageRecord, tiling: Tiling) -> tuple[str, str | None, Size | None, str | None]:
    """(relative path, sha256, size, None) of an image that can be used, (relative path, None, None, error) else."""
    try:
        height, width, _ = read_image(record.path).shape
        tiling.check_fit((height, width), str(record.path))
    except DataError as error:
        return record.relative_path, None, None, str(error)
    return record.relative_path, sha256_of(record.path), (height, width), None


def find_pixel_range(records: Sequence[ImageRecord]) -> PixelRange:
    """Of how many bits the 16-bit greys of training photographs make use; logs what is to be said of any of them."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda record: survey_photograph(record.path), records))
    remarks = {record.relative_path: texts for record, (_, texts) in zip(records, found, strict=True)}
    for line in remarks_lines(remarks):
        logger.warning("%s", line)
    pixel_range = range_of_set([depth for depth, _ in found])
    if pixel_range.is_unusual:
        logger.warning("%s", pixel_range)
    return pixel_range


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
    tiling: Tiling
    sizes: dict[str, tuple[int, int]]
    """Height and width of every photograph, by its relative path."""

    def hashes_of(self, records: Sequence[ImageRecord]) -> list[str]:
        return [self.hashes[record.relative_path] for record in records]

    def num_tiles(self, records: Sequence[ImageRecord]) -> list[int]:
        """How many images a model sees of each photograph."""
        return [self.tiling.num_tiles(self.sizes[record.relative_path]) for record in records]

    def content_hash(self) -> str:
        """One sha256 for what is trained and calibrated on, and for which is which."""
        parts = [self.hashes_of(self.train), self.hashes_of(self.calibration)]
        if self.anomalous:
            parts.append(self.hashes_of(self.anomalous))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def gather_training_images(data: Path, config: RunConfig) -> TrainingData:
    """Find, read and split the training images; raises DataError naming every unreadable one."""
    chosen, tiling = config.data, tiling_for(config.data)
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
    bad, is_drawn = _labelled_anomalous(catalog, config)
    hashes, sizes, unreadable = read_usable([*normal, *held, *bad], tiling, skip_bad=config.data.skip_bad)
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
    tiling = tiling.with_pixel_range(find_pixel_range([*train, *calibration, *anomalous]))
    inputs = TrainingData(catalog, train, calibration, anomalous, drawn, hashes, tuple(left_out), tiling, sizes)
    _check_labels(inputs)
    return inputs


def _labelled_anomalous(catalog: Catalog, config: RunConfig) -> tuple[tuple[ImageRecord, ...], bool]:
    """The labelled bad images to train on, and whether they had to be drawn from the test set."""
    labelled = tuple(record for record in catalog.split("train") if record.label == ANOMALOUS)
    if config.model.supervision == "u":
        return (), False
    if labelled and config.model.plan is TrainingPlan.END_TO_END:
        logger.warning("the %d images labelled bad are not used: %s makes its own", len(labelled), config.model.variant)
        return (), False
    if labelled and config.data.tile is not None:
        logger.warning(
            "the %d images labelled bad are not used: which of their tiles are bad is not known", len(labelled)
        )
        return (), False
    if labelled or config.model.supervision != "w":
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
    follows_scores = RULES[config.calibration.threshold_rule].follows_scores
    if follows_scores and config.model.prior == "aggregated" and config.model.supervision != "w":
        return normal, ()
    train, held = hold_out(normal, fraction=config.data.calibration_fraction, seed=config.training.seed)
    settings = config.calibration
    is_too_few = follows_scores and len(held) < num_needed(settings.false_alarm_rate)
    if is_too_few and config.model.plan.is_whitened and len(normal) > 1:
        return normal, ()
    return train, held
