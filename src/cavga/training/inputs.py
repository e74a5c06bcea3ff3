"""What a run trains on: images found, read once, hashed, and split into those that fit and those that calibrate."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cavga.arrays import Size
from cavga.calibration.rules import RULES, num_needed
from cavga.config.schema import AUTO, DataConfig, RunConfig
from cavga.config.variant import TrainingPlan
from cavga.data.catalog import load_catalog
from cavga.data.check import log_findings, unread
from cavga.data.copies import PhotographFacts, group_copies, read_once, units_of_copies
from cavga.data.readers.layouts import CLASS_LAYOUTS
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, Finding, ImageRecord, draw_anomalous, hold_out, unit_numbers
from cavga.errors import DataError
from cavga.images.decode import remarks_lines
from cavga.images.input_size import MIXED_REMEDY, mixed_shapes, seen_size, settled_size
from cavga.images.pixel_range import PixelRange, range_of_set
from cavga.images.roi import Roi, load_roi
from cavga.images.tiling import Tiling
from cavga.progress import SILENT, Progress, counted
from cavga.threads import thread_pool

logger = logging.getLogger("cavga")


@dataclass(frozen=True)
class UsableImages:
    """What is known of the images that can be used, by their relative paths, and an error for each of the others."""

    photographs: dict[str, PhotographFacts]
    errors: list[str]

    @property
    def hashes(self) -> dict[str, str]:
        return {path: facts.sha256 for path, facts in self.photographs.items()}

    @property
    def sizes(self) -> dict[str, Size]:
        return {path: facts.size for path, facts in self.photographs.items()}

    def units(self, records: Sequence[ImageRecord]) -> list[int]:
        """Which photograph each record is of: copies and near-copies have one number."""
        facts = [self.photographs[record.relative_path] for record in records]
        return units_of_copies([fact.sha256 for fact in facts], [fact.thumbnail for fact in facts])


def read_usable(
    records: Sequence[ImageRecord], roi: Roi | None, *, skip_bad: bool, progress: Progress = SILENT
) -> UsableImages:
    """Read every image once.

    Usable is what can be read and fits the region of interest. Raises DataError, which names those that are not,
    unless `skip_bad`.
    """
    progress.begin("reading", len(records), "photographs")
    with thread_pool() as pool:
        read = list(counted(pool.map(lambda record: _examine(record, roi), records), progress))
    pairs = list(zip(records, read, strict=True))
    found = UsableImages(
        {record.relative_path: item for record, item in pairs if isinstance(item, PhotographFacts)},
        [item for item in read if isinstance(item, str)],
    )
    errors = found.errors
    if errors and not skip_bad:
        listed = "; ".join(errors[:5]) + (f"; and {len(errors) - 5} more" if len(errors) > 5 else "")
        raise DataError(
            f"{len(errors)} training images cannot be read; skip_bad (--skip-bad) trains without them: {listed}"
        )
    return found


def _examine(record: ImageRecord, roi: Roi | None) -> PhotographFacts | str:
    """What is known of an image that can be used, else why it cannot."""
    try:
        _, facts = read_once(record.path)
        if roi is not None:
            roi.check_fit(facts.size, str(record.path))
    except DataError as error:
        return str(error)
    return facts


def find_pixel_range(records: Sequence[ImageRecord], usable: UsableImages) -> PixelRange:
    """Of how many bits the 16-bit greys of training photographs make use; logs what is to be said of any of them."""
    paths = [record.relative_path for record in records]
    for line in remarks_lines({path: usable.photographs[path].remarks for path in paths}):
        logger.warning("%s", line)
    pixel_range = range_of_set([usable.photographs[path].depth for path in paths])
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
    dropped: tuple[str, ...] = ()
    """The relative paths of good photographs that are not trained on because they score far above all others."""

    @property
    def units(self) -> list[int]:
        """Which unit each of `train` is of, counted from 0: copies of one photograph are one, and so is a group."""
        return unit_numbers(self.train)

    def without(self, positions: Sequence[int]) -> "TrainingData":
        """The same without some of `train`, which are then `dropped`."""
        dropped = tuple(self.train[position].relative_path for position in positions)
        kept = tuple(record for record in self.train if record.relative_path not in dropped)
        return replace(self, train=kept, dropped=dropped)

    def settled(self, config: RunConfig) -> RunConfig:
        """The configuration with the input size that these images have."""
        return replace(config, data=replace(config.data, image_size=self.tiling.image_size))

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


def gather_training_images(data: Path, config: RunConfig, progress: Progress = SILENT) -> TrainingData:
    """Find, read and split the training images; raises DataError naming every unreadable one."""
    chosen = config.data
    roi = None if chosen.roi is None else load_roi(chosen.roi)
    catalog = load_catalog(
        data,
        layout=chosen.layout,
        category=chosen.category,
        normal_class=chosen.normal_class,
        mask_cut=chosen.mask_cut,
    )
    log_findings(catalog, "train")
    normal = [record for record in catalog.split("train") if record.label == NORMAL]
    held = [record for record in catalog.split("calibration") if record.label == NORMAL]
    if not normal:
        where = f"train/{catalog.category}" if catalog.layout in CLASS_LAYOUTS else "train/good"
        raise DataError(f"{data} holds no good images to train on; expected them in {where}")
    bad, is_drawn = _labelled_anomalous(catalog, config)
    usable = read_usable([*normal, *held, *bad], roi, skip_bad=config.data.skip_bad, progress=progress)
    train, calibration, anomalous = (
        tuple(record for record in records if record.relative_path in usable.photographs)
        for records in (normal, held, bad)
    )
    num_good, num_read = len(normal) + len(held), len(train) + len(calibration)
    train, calibration = _as_units(train, calibration, usable)
    if not calibration:
        train, calibration = _split(train, config)
    num_different = len(set(unit_numbers((*train, *calibration))))
    if not train or num_different < 2:
        raise DataError(_too_few(data, num_good, num_read))
    if bad and not anomalous:
        raise DataError(f"{data}: none of the {len(bad)} labelled bad images can be read: {usable.errors[-1]}")
    drawn = tuple(record.relative_path for record in anomalous) if is_drawn else ()
    left_out = [*usable.errors, *map(_unread_line, unread(catalog))]
    pixel_range = find_pixel_range([*train, *calibration, *anomalous], usable)
    good = [usable.photographs[record.relative_path].size for record in (*train, *calibration)]
    tiling = Tiling(settle_input_size(chosen, good, roi), tile=chosen.tile, roi=roi, pixel_range=pixel_range)
    inputs = TrainingData(
        catalog, train, calibration, anomalous, drawn, usable.hashes, tuple(left_out), tiling, usable.sizes
    )
    _check_labels(inputs)
    return inputs


def settle_input_size(data: DataConfig, sizes: Sequence[Size], roi: Roi | None) -> Size:
    """The input size for good photographs of these sizes; says it, and whether their shapes are mixed."""
    seen = [seen_size(size, tile=data.tile, roi=roi) for size in sizes]
    height, width = settled_size(data, seen)
    if data.image_size == AUTO:
        logger.info(
            "the model's input is %d x %d pixels, height x width, by image_size (--image-size) auto", height, width
        )
    mixed = mixed_shapes(seen)
    if mixed is not None:
        logger.warning("%s; %s", mixed, MIXED_REMEDY)
    return height, width


def _as_units(
    train: tuple[ImageRecord, ...], calibration: tuple[ImageRecord, ...], usable: UsableImages
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """Copies as groups; calibration images that are copies of training images are left out, because they are known."""
    units = usable.units((*train, *calibration))
    known = set(units[: len(train)])
    is_new = [unit not in known for unit in units[len(train) :]]
    if not all(is_new):
        num_known = len(is_new) - sum(is_new)
        logger.warning("%d calibration images are copies of training images and set no threshold", num_known)
    kept = [record for record, new in zip(calibration, is_new, strict=True) if new]
    numbers = [*units[: len(train)], *(unit for unit in units[len(train) :] if unit not in known)]
    grouped = group_copies([*train, *kept], numbers)
    if len(set(numbers)) < len(numbers):
        logger.warning(
            "%d good images are of %d different photographs: copies count as one", len(numbers), len(set(numbers))
        )
    return grouped[: len(train)], grouped[len(train) :]


def _too_few(data: Path, num_good: int, num_read: int) -> str:
    unreadable = f", {num_good - num_read} of them unreadable" if num_read < num_good else ""
    copies = ", all copies of one photograph or of one group" if num_read > 1 else ""
    return (
        f"{data} holds {num_good} good images{unreadable}{copies}: at least 2 different ones are needed, one to train "
        "on and one to set thresholds with"
    )


def _unread_line(finding: Finding) -> str:
    return f"{finding.path}: {finding.problem}; {finding.remedy}"


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
