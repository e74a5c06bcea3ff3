"""What a run finds of anomalies that are made on good images, for a user who has no others.

They are not real defects: a low recall is a warning, a high one promises nothing. Deterministic by the
run's seed. Writes self_test.json and self_test.html; never touches what `evaluate` writes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cavga.atomic_files import atomic_write, refuse_file, written_together
from cavga.data.catalog import load_like_run
from cavga.data.manifest import sha256_of
from cavga.data.records import ImageRecord
from cavga.errors import DataError, UsageError
from cavga.evaluation.place import EvaluatedData, place_of_results
from cavga.evaluation.self_test_anomalies import Anomaly, normal_images
from cavga.evaluation.self_test_page import write_self_test_page
from cavga.evaluation.verdicts import touches, verdict_of
from cavga.images.decode import BATCH_SIZE, read_image
from cavga.images.resize import true_mask_at
from cavga.images.tiling import Tiling
from cavga.inference.detector import AnomalyDetector
from cavga.inference.prepare import FailedImage
from cavga.metrics.image import auroc, auroc_interval, share_interval
from cavga.metrics.pixel import PixelHistogram
from cavga.output_lock import writing_to
from cavga.progress import SILENT, Progress, counted
from cavga.regular_files import real_path
from cavga.rendering.html import Case
from cavga.rendering.scale import picture_scale
from cavga.runs.model_json import used_images
from cavga.synthetic.controlled import CONTRASTS, CONTROLLED_NAMES, CONTROLLED_TYPES, MIN_CHANGE, SIZES

MAX_SYNTHETIC = 200
MEANING = (
    "synthetic anomalies, not real defects: a high recall here promises nothing about yours; a low one is a warning"
)
RESULT_FILE = "self_test.json"
CASES_PER_TYPE = 4  # shown on the page
_SETTINGS = {
    "kinds": {
        anomaly_type: (synthesise.__doc__ or "").strip() for anomaly_type, synthesise in CONTROLLED_TYPES.items()
    },
    "sizes": list(SIZES),
    "contrasts": list(CONTRASTS),
    "min_change": MIN_CHANGE,
}


@dataclass(frozen=True)
class Trial:
    """A good image with its score, untouched (`anomaly` is None) or with an anomaly."""

    record: ImageRecord
    anomaly: Anomaly | None
    score: float
    is_anomalous: bool


@dataclass(frozen=True)
class SelfTest:
    """What `self_test` found: the content of self_test.json, files left out, where all of it is."""

    result: dict[str, Any]
    problems: list[str]
    folder: Path


def self_test(
    run: str | Path,
    data: str | Path,
    output: str | Path | None = None,
    *,
    category: str | None = None,
    max_made: int = MAX_SYNTHETIC,
    device: str = "auto",
    progress: Progress = SILENT,
) -> SelfTest:
    """Score synthetic anomalies on good images; writes self_test.json and self_test.html.

    The good test images of `data` are taken; where there are none the run's calibration images, or in a
    plain folder those that the run has not seen; where there are none either and the run used folds, those it
    learnt from, and nothing is said of them untouched then. Every one gets the same number of anomalies, at most
    `max_made` in all. `output` is as in `evaluate`. Raises DataError if there is no such image.
    """
    target = Path(run if output is None else output)
    refuse_file(target)
    if max_made < 1:
        raise UsageError(f"max_made: expected at least 1, got {max_made}")
    detector = AnomalyDetector.load(run, device=device)
    settings = detector.description["config"]["data"]
    catalog = load_like_run(settings, Path(data), category=category, mask_cut=None)
    source, records = normal_images(catalog, used_images(Path(run), detector.description))
    seed = int(detector.description["provenance"]["seed"])
    plan = _plan(records, seed=seed, max_made=max_made)
    tally = Tally()
    progress.begin("scoring", sum(1 + len(anomalies) for _, anomalies in plan), "images")
    trials = list(counted(tally.score(detector, plan), progress))
    if not trials:
        raise DataError(f"{data}: none of its {len(records)} good images can be read: {tally.problems[0]}")
    result = _result(trials, tally, detector, source=source, per_image=len(plan[0][1]))
    progress.begin("page")
    cases = [_case(trial, detector) for trial in _worth_showing(trials)]
    scores = [(trial.score, int(trial.anomaly is not None)) for trial in trials]
    evaluated = EvaluatedData.of(Path(data), catalog, (sha256_of(record.path) for record, _ in plan))
    if output is None:
        target = place_of_results(target, RESULT_FILE, evaluated)
    result["provenance"]["evaluated"] = evaluated.as_dict()
    with writing_to(target), written_together():
        write_self_test_page(target / "self_test.html", real_path(Path(run)).name, result, scores, cases)
        atomic_write(target / RESULT_FILE, (json.dumps(result, indent=2) + "\n").encode())
    return SelfTest(result, tally.problems, target)


def _plan(records: Sequence[ImageRecord], *, seed: int, max_made: int) -> list[tuple[ImageRecord, list[Anomaly]]]:
    """The good images, at most `max_made`, each with what is to be made on it.

    Every type at every size and contrast comes up once before any comes up again.
    """
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(records))[:max_made])
    per_image = max_made // len(chosen)
    combinations = list(product(CONTROLLED_NAMES, SIZES, CONTRASTS))
    num_rounds = -(-len(chosen) * per_image // len(combinations))
    order = iter(np.concatenate([rng.permutation(len(combinations)) for _ in range(num_rounds)]))
    plan = []
    for position, i in enumerate(chosen):
        drawn = [combinations[int(next(order))] for _ in range(per_image)]
        anomalies = [Anomaly(*combination, key=(seed, position, k)) for k, combination in enumerate(drawn)]
        plan.append((records[i], anomalies))
    return plan


class Tally:
    """Scores a plan in bounded memory, and counts what the scores alone do not tell."""

    def __init__(self) -> None:
        self.histogram = PixelHistogram()
        self.without_anomaly: list[Anomaly] = []
        self.problems: list[str] = []

    def score(
        self, detector: AnomalyDetector, plan: Sequence[tuple[ImageRecord, Sequence[Anomaly]]]
    ) -> Iterator[Trial]:
        pictures = self._pictures(plan, detector.tiling)
        num_at_once = BATCH_SIZE if detector.tiling.tile is None else 1  # large photographs
        while batch := list(islice(pictures, num_at_once)):
            results = detector.results([pixels for _, _, pixels, _ in batch])
            for (record, anomaly, _, mask), result in zip(batch, results, strict=True):
                if isinstance(result, FailedImage):
                    raise DataError(f"{record.path}: {result.error}")
                self.histogram.update(result.anomaly_map, true_mask_at(mask, result.anomaly_map.shape))
                yield Trial(record, anomaly, result.score, result.is_anomalous)

    def _pictures(
        self, plan: Sequence[tuple[ImageRecord, Sequence[Anomaly]]], tiling: Tiling
    ) -> Iterator[tuple[ImageRecord, Anomaly | None, NDArray[np.uint8], NDArray[np.bool_]]]:
        for record, anomalies in plan:
            try:
                photograph = read_image(record.path, tiling.pixel_range)
                tiling.check_fit(photograph.shape[:2], str(record.path))
            except DataError as error:
                self.problems.append(str(error))
                continue
            yield record, None, photograph, np.zeros(photograph.shape[:2], dtype=np.bool_)
            for anomaly in anomalies:
                synthetic = anomaly.put_on(photograph, tiling)
                if synthetic is None:
                    self.without_anomaly.append(anomaly)
                else:
                    yield record, anomaly, *synthetic


def _result(
    trials: Sequence[Trial], tally: Tally, detector: AnomalyDetector, *, source: str, per_image: int
) -> dict[str, Any]:
    """The content of self_test.json."""
    synthetic = [(trial.anomaly, trial.is_anomalous) for trial in trials if trial.anomaly is not None]
    untouched = [trial.is_anomalous for trial in trials if trial.anomaly is None]
    is_seen = source == "train"  # what such an image scores untouched says nothing
    alarms = [] if is_seen else untouched

    def shares(names: Sequence[Any], of: Callable[[Anomaly], Any]) -> dict[str, Any]:
        return {
            str(name): {
                **_share([is_found for anomaly, is_found in synthetic if of(anomaly) == name]),
                "not_made": sum(of(anomaly) == name for anomaly in tally.without_anomaly),
            }
            for name in names
        }

    kept = {key: detector.description[key] for key in ("variant", "preset", "calibration", "weights_sha256")}
    return {
        "synthetic": True,
        "meaning": MEANING,
        "warning": _warning(_share(alarms), asked_for=kept["calibration"]["false_alarm_rate"]),
        "found": {**_share([is_found for _, is_found in synthetic]), "threshold": detector.image_threshold},
        "by_kind": shares(CONTROLLED_NAMES, lambda anomaly: anomaly.anomaly_type),
        "by_size": shares(SIZES, lambda anomaly: anomaly.size),
        "by_contrast": shares(CONTRASTS, lambda anomaly: anomaly.contrast),
        "false_alarms": _share(alarms),
        "image": _image_auroc([] if is_seen else trials),
        "pixel": {
            "auroc": None if is_seen else tally.histogram.auroc(),
            "resolution": list(detector.image_size) if detector.tiling.is_plain else "map",
        },
        "counts": _counts(trials, tally, per_image=per_image),
        "settings": {"good_images": source, **_SETTINGS},
        "provenance": {**detector.description["provenance"], **kept},
    }


def _counts(trials: Sequence[Trial], tally: Tally, *, per_image: int) -> dict[str, int]:
    synthetic, alarmed = [trial for trial in trials if trial.anomaly is not None], _predicted_untouched(trials)
    return {
        "good": len(trials) - len(synthetic),
        "made": len(synthetic),
        "made_per_good": per_image,
        "not_made": len(tally.without_anomaly),
        "found_on_false_alarms": sum(trial.is_anomalous and trial.record.path in alarmed for trial in synthetic),
        "unreadable": len(tally.problems),
    }


def _image_auroc(trials: Sequence[Trial]) -> dict[str, Any]:
    """Untouched images against those with a synthetic anomaly; null without any."""
    scores = np.array([trial.score for trial in trials])
    labels = np.array([trial.anomaly is not None for trial in trials], dtype=np.int64)
    return {"auroc": auroc(scores, labels), "interval": auroc_interval(scores, labels)}


def _warning(false_alarms: Mapping[str, Any], *, asked_for: float) -> str | None:
    """What makes the shares worthless: where untouched images are predicted anomalous, everything is found."""
    if false_alarms["interval"] is None or false_alarms["interval"][0] <= asked_for:
        return None
    return (
        f"{false_alarms['rate']:.0%} of the untouched images are predicted anomalous, {asked_for:.0%} were asked for: "
        "synthetic anomalies are found as often with no merit of the model's, so only the AUROCs tell something"
    )


def _share(predicted: Sequence[bool]) -> dict[str, Any]:
    """How many are predicted anomalous, with the exact 95 % interval of the rate; null without any image."""
    count, num_predicted_anomalous = len(predicted), sum(predicted)
    return {
        "count": count,
        "called": num_predicted_anomalous,
        "rate": num_predicted_anomalous / count if count else None,
        "interval": share_interval(predicted),
    }


def _worth_showing(trials: Sequence[Trial]) -> list[Trial]:
    """Of each type the most conspicuous missed ones and the faintest found ones; the missed ones first."""
    missed, found = [], []
    alarmed = _predicted_untouched(trials)
    for anomaly_type in CONTROLLED_NAMES:
        of_type = [trial for trial in trials if trial.anomaly and trial.anomaly.anomaly_type == anomaly_type]
        by_strength = sorted(of_type, key=_strength)
        passed = [trial for trial in reversed(by_strength) if not trial.is_anomalous]
        caught = [trial for trial in by_strength if trial.is_anomalous and trial.record.path not in alarmed]
        num_missed = min(len(passed), CASES_PER_TYPE - min(1, len(caught)))
        missed += passed[:num_missed]
        found += caught[: CASES_PER_TYPE - num_missed]
    return missed + found


def _predicted_untouched(trials: Sequence[Trial]) -> set[Path]:
    """The images that are predicted anomalous as they are: what is made on them is found without merit."""
    return {trial.record.path for trial in trials if trial.anomaly is None and trial.is_anomalous}


def _strength(trial: Trial) -> float:
    return trial.anomaly.size * trial.anomaly.contrast if trial.anomaly else 0.0


def _case(trial: Trial, detector: AnomalyDetector) -> Case:
    """The anomaly, made again, with its map."""
    assert trial.anomaly is not None
    synthetic = trial.anomaly.put_on(read_image(trial.record.path, detector.tiling.pixel_range), detector.tiling)
    assert synthetic is not None
    prediction = detector(synthetic[0])
    is_touched = touches(prediction.anomaly_map, detector.pixel_threshold, synthetic[1])
    return Case(
        path=trial.record.relative_path,
        verdict=verdict_of(1, is_anomalous=trial.is_anomalous, touches=is_touched),
        label=1,
        defect_type=f"made: {trial.anomaly.anomaly_type}, size {trial.anomaly.size}, contrast {trial.anomaly.contrast}",
        score=trial.score,
        threshold=detector.image_threshold,
        is_anomalous=trial.is_anomalous,
        photograph=synthetic[0],
        anomaly_map=prediction.anomaly_map,
        scale=picture_scale(detector),
        mask=synthetic[1],
    )
