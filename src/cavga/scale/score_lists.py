"""A list of images -> rows, read and decoded in threads: as parts of a shard, or as predictions.jsonl."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol, runtime_checkable

from cavga.atomic_files import atomic_writer
from cavga.config.schema import MAP_KINDS
from cavga.errors import UsageError, unknown_name
from cavga.images.decode import BATCH_SIZE
from cavga.images.prefetch import prefetch
from cavga.images.resize import resize_map
from cavga.inference.detector import AnomalyDetector
from cavga.inference.lines import PREDICTIONS_FILE, jsonl, prediction_line
from cavga.inference.prediction import Prediction
from cavga.inference.prepare import DecodedImage, FailedImage, FileContent
from cavga.output_lock import writing_to
from cavga.prediction.map_files import grey_scale, save_map
from cavga.progress import SILENT, Progress
from cavga.scale.parts import Counts, Done, PartStore, model_identity
from cavga.scale.storage import Folder, StorageError, file_system, is_url
from cavga.scale.work_list import Item, Shard, items_of

PART_SIZE = 2000  # images: what a worker that is killed does again at most
MAX_NAMED = 1000  # images that could not be read and are named in the summary; the output names all
MAPS_FOLDER = "maps"


@dataclass(frozen=True)
class Scored:
    """What was made of one image: a prediction, with what model and threshold, or why there is none."""

    item: Item
    result: Prediction | FailedImage
    detector: AnomalyDetector | None


@runtime_checkable
class Scorer(Protocol):
    """Whatever scores images of a list, in any order, each once."""

    def results(self, items: Sequence[Item]) -> Iterator[Scored]:
        """What is made of each of the images."""

    def detector_of(self, category: str | None) -> AnomalyDetector | None:
        """What scores a category; None where nothing does."""


class OneModel:
    """Scores all images by one model."""

    def __init__(self, detector: AnomalyDetector) -> None:
        self.detector = detector

    def detector_of(self, _category: str | None) -> AnomalyDetector:
        """The one there is."""
        return self.detector

    def results(self, items: Sequence[Item]) -> Iterator[Scored]:
        """As `Scorer.results`, in order."""
        size = batch_size(self.detector)
        ready = prefetch(items, partial(_ready, detector=self.detector), most=2 * size)
        for batch in iter(lambda: list(islice(ready, size)), []):
            scored = self.detector.score([image for _, image in batch])
            for (item, _), result in zip(batch, scored, strict=True):
                yield Scored(item, result, self.detector)


def model_of(detector: AnomalyDetector) -> str:
    """What rows call a model: the beginning of its weights' sha256."""
    return str(detector.description["weights_sha256"][:16])


def batch_size(detector: AnomalyDetector) -> int:
    """How many images are decoded at a time: of large photographs, which are cut into tiles, one."""
    return 1 if detector.tiling.tile is not None else BATCH_SIZE


def _ready(item: Item, detector: AnomalyDetector) -> tuple[Item, DecodedImage | FailedImage]:
    return item, read_item(item, detector)


def read_item(item: Item, detector: AnomalyDetector) -> DecodedImage | FailedImage:
    """An image of the list, from a disk or an object store, made ready for its model."""
    if not is_url(item.place):
        return detector.prepare(Path(item.place))
    system, path = file_system(item.place)
    try:
        content = system.cat_file(path)
    except FileNotFoundError:
        return FailedImage(f"{item.place}: no such image")
    except OSError as error:  # of the network, not of the image: it is not done
        raise StorageError(f"{item.place} cannot be reached: {error}; run the same command again") from error
    return detector.prepare(FileContent(content, item.place))


@dataclass(frozen=True)
class ScoringOutput:
    """What rows hold: a threshold in place of the models', and maps (one of MAP_KINDS) in a local folder."""

    threshold: float | None = None
    maps: str | None = None

    def __post_init__(self) -> None:
        if self.maps is not None and self.maps not in MAP_KINDS:
            raise unknown_name("kind of maps", self.maps, MAP_KINDS)

    def threshold_of(self, detector: AnomalyDetector) -> float:
        """What is compared with the score."""
        return detector.image_threshold if self.threshold is None else self.threshold

    def row(self, scored: Scored, output: str) -> dict[str, Any]:
        """A row of a part, or a line of predictions.jsonl; the map is written on the way."""
        item, result = scored.item, scored.result
        if isinstance(result, FailedImage):
            unknown = dict.fromkeys(("num_regions", "regions"))
            more: dict[str, Any] = {"category": item.category, **unknown}
            return prediction_line(item.key, score=None, threshold=self.threshold, error=result.error, **more).as_dict()
        assert scored.detector is not None
        threshold = self.threshold_of(scored.detector)
        more = {"category": item.category, "model": model_of(scored.detector)}
        if self.maps is not None:
            more["map"] = f"{MAPS_FOLDER}/{item.key}.tiff"
            scale = grey_scale(scored.detector) if self.maps == "uint16" else None
            save_map(Path(output) / str(more["map"]), resize_map(result.anomaly_map, result.image_size), scale)
        return result.line(item.key, threshold, result.regions(), **more).as_dict()


@dataclass
class ScoringSummary:
    """What was done: counts of the whole shard, how many of these were done before, and the first errors of now."""

    counts: Counts
    done_before: int
    failed: list[str]

    @property
    def bad_share(self) -> float:
        return self.counts.bad / max(1, self.counts.images)


def score_shard(
    scorer: Scorer,
    source: str,
    output: str,
    *,
    shard: Shard,
    what: ScoringOutput = ScoringOutput(),
    part_size: int = PART_SIZE,
    progress: Progress = SILENT,
) -> ScoringSummary:
    """Score the images of a shard that are not done yet into parts of `part_size` in `output`.

    Raises DataError where the list is missing or empty, UsageError where the output has another number of shards,
    ResumeError where another model did what is done, StorageError where an object store fails.
    """
    with locked(output, shard):
        store = PartStore(Folder(output), shard)
        begun = begin(store, scorer, what)
        progress.begin("predicting", None, "images", done=begun.counts.images)
        for items in parts_to_do(items_of_shard(source, shard), begun.done, part_size):
            counts, errors = score_part(scorer, items, store, what)
            begun.summary.counts.add(counts)
            begun.summary.failed += errors[: MAX_NAMED - len(begun.summary.failed)]
            progress.advance(float(len(items)))
    return begun.summary


@dataclass(frozen=True)
class Begun:
    """A shard whose output was looked at: what is done, and its summary so far."""

    done: Done
    summary: ScoringSummary

    @property
    def counts(self) -> Counts:
        return self.summary.counts


def begin(store: PartStore, scorer: Scorer, what: ScoringOutput) -> Begun:
    """Look at what is done of a shard, which has to be of the same models."""
    store.check()
    done, counts = store.done()
    detectors = {category: scorer.detector_of(category or None) for category in store.models}
    store.check_models({
        category: model_identity(model_of(detector), what.threshold_of(detector))
        for category, detector in detectors.items() if detector is not None
    })  # fmt: skip
    return Begun(done, ScoringSummary(counts, counts.images, []))


def items_of_shard(source: str, shard: Shard) -> Iterator[Item]:
    """The images of a list that a shard has to do."""
    return (item for item in items_of(source) if shard.holds(item.key))


def parts_to_do(items: Iterable[Item], done: Done, size: int) -> Iterator[list[Item]]:
    """The images that are not done, each once, in lists of at most `size`."""
    waiting: list[Item] = []
    items = iter(items)
    while some := list(islice(items, size)):
        fresh = list({item.key: item for item in some}.values())
        new = [item for item, known in zip(fresh, done.has([item.key for item in fresh]), strict=True) if not known]
        done.add(item.key for item in new)
        waiting += new
        if len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting


def score_part(
    scorer: Scorer, items: Sequence[Item], store: PartStore, what: ScoringOutput
) -> tuple[Counts, list[str]]:
    """Score images and commit them as one part; returns what was counted, and the errors."""
    rows = [what.row(scored, store.folder.place) for scored in scorer.results(items)]
    bad = [row for row in rows if row["score"] is None]
    counts = store.commit([item.key for item in items], [row for row in rows if row["score"] is not None], bad)
    return counts, [row["error"] for row in bad]


def score_to_lines(
    scorer: Scorer, source: str, output: str, *, what: ScoringOutput = ScoringOutput(), progress: Progress = SILENT
) -> ScoringSummary:
    """Score all images of a list into OUTPUT/predictions.jsonl, which appears when all are scored."""
    summary = ScoringSummary(Counts(), 0, [])
    progress.begin("predicting", None, "images")
    with (
        locked(output, None),
        SpooledTemporaryFile() if is_url(output) else atomic_writer(Path(output) / PREDICTIONS_FILE) as file,
    ):
        for items in parts_to_do(items_of(source), Done(), PART_SIZE):
            rows = [what.row(scored, output) for scored in scorer.results(items)]
            file.write(jsonl(rows))
            bad = [row["error"] for row in rows if row["score"] is None]
            num_anomalous = sum(bool(row["is_anomalous"]) for row in rows)
            summary.counts.add(Counts(len(rows) - len(bad), num_anomalous, len(bad)))
            summary.failed += bad[: MAX_NAMED - len(summary.failed)]
            progress.advance(float(len(items)))
        if is_url(output):
            file.seek(0)
            Folder(output).write(PREDICTIONS_FILE, file.read())
    return summary


def check_scoring(source: str, output: str, what: ScoringOutput) -> None:
    """Raise UsageError where the output would be read as input, or maps cannot be written there."""
    if is_url(output) and what.maps is not None:
        raise UsageError(f"--maps writes to a local folder, and --output {output} is none: leave --maps out")
    both = [place.rstrip("/") if is_url(place) else str(Path(place).absolute()) for place in (source, output)]
    if f"{both[1]}/".startswith(f"{both[0]}/"):
        raise UsageError(f"output {output} lies inside {source}: it would be read the next time; choose another folder")


def locked(output: str, shard: Shard | None) -> AbstractContextManager[None]:
    """One writer of a shard at a time, where there are locks; elsewhere two write the same parts by the same names."""
    if is_url(output):
        return nullcontext()
    return writing_to(Path(output) / shard.name if shard else Path(output))
