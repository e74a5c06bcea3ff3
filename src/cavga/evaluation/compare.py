"""Two evaluations of the same test images -> how they differ, and whether that can be told from chance. No torch."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cavga.atomic_files import atomic_write, refuse_file
from cavga.errors import DataError
from cavga.evaluation.written import EvaluatedImage, PixelCounts, WrittenEvaluation, read_evaluation
from cavga.metrics.bootstrap import (
    NUM_RESAMPLES,
    SEED,
    Difference,
    ImagesOf,
    PixelsOf,
    Statistic,
    paired_differences,
)
from cavga.metrics.registry import COMPARED, Metric, shown_in
from cavga.output_lock import writing_file

FEW = 10  # images of one label, below which the interval is too narrow

Pair = tuple[EvaluatedImage, EvaluatedImage]  # of A and of B
Statistics = dict[str, tuple[Statistic, Statistic]]


def compare_evaluations(a: str | Path, b: str | Path, output: str | Path | None = None) -> dict[str, Any]:
    """Compare two evaluations (folders of `cavga evaluate`, or their files); writes compare.json if `output` is given.

    Images are matched by content, or by path where that is not known; those that only one of the two has are counted
    and not used. `metrics` has A, B, B - A, its 95 % interval and who is better; what cannot be compared is in
    `not_available`, with the reason. Raises DataError if nothing is common or one image has two labels.
    """
    if output is not None:
        refuse_file(Path(output))
    first, second = read_evaluation(Path(a)), read_evaluation(Path(b))
    pairs = match_images(first, second)
    statistics, reasons = _image_statistics(pairs)
    labels = [bool(image.label) for image, _ in pairs]
    found = paired_differences(statistics, labels)
    pixel_statistics, pixel_labels, no_pixels = _pixel_statistics(first, second, pairs)
    found |= paired_differences(pixel_statistics, pixel_labels)
    reasons |= no_pixels
    compared = shown_in(COMPARED)
    metrics = {metric.name: _as_dict(metric, found[metric.name]) for metric in compared if metric.name in found}
    result = {
        "a": str(a),
        "b": str(b),
        "verdict": _verdict(metrics),
        "metrics": metrics,
        "not_available": {metric.name: reasons[metric.name] for metric in compared if metric.name in reasons},
        "images": _image_counts(first, second, labels),
        "warning": _warning(labels),
        "method": "paired bootstrap of B - A, normal and anomalous images drawn apart, percentile interval",
        "resamples": NUM_RESAMPLES,
        "seed": SEED,
    }
    if output is not None:
        with writing_file(Path(output) / "compare.json"):
            atomic_write(Path(output) / "compare.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


def match_images(a: WrittenEvaluation, b: WrittenEvaluation) -> list[Pair]:
    """The images that both have, in A's order: of one content, or of one path where a content is not known.

    Copies within one evaluation are matched by path. Raises DataError if none is common or labels differ.
    """
    single = _single_contents(a.images) & _single_contents(b.images)
    by_content = {image.sha256: image for image in b.images if image.sha256 in single}
    by_path = {image.path: image for image in b.images if image.sha256 not in single}
    pairs = []
    for image in a.images:
        if image.sha256 in single:
            other = by_content[image.sha256]
        else:
            found = by_path.get(image.path)
            hashes = {image.sha256, found.sha256 if found else None} - {None}
            if found is None or len(hashes) > 1:  # another picture of the same name
                continue
            other = found
        if image.label != other.label:
            raise DataError(
                f"{image.path} has label {image.label} in {a.folder} and {other.label} in {b.folder}: evaluate both "
                "with the same labels"
            )
        pairs.append((image, other))
    if not pairs:
        raise DataError(
            f"{a.folder} and {b.folder} have no image in common: expected evaluations of the same test images, such as "
            f"{a.images[0].path} and {b.images[0].path}"
        )
    return pairs


def _single_contents(images: Sequence[EvaluatedImage]) -> set[str | None]:
    counts = Counter(image.sha256 for image in images if image.sha256 is not None)
    return {sha256 for sha256, count in counts.items() if count == 1}


def _image_statistics(pairs: Sequence[Pair]) -> tuple[Statistics, dict[str, str]]:
    """What can be computed of the images, and why the rest cannot."""
    metrics = shown_in(COMPARED, "image")
    is_anomalous = np.array([bool(image.label) for image, _ in pairs], dtype=np.float64)
    if not is_anomalous.any() or is_anomalous.all():
        return {}, _without(metrics, "good and anomalous images are needed, only one kind is common")
    undecided = [name for k, name in enumerate("AB") if any(pair[k].is_anomalous is None for pair in pairs)]
    parts = []
    for k in (0, 1):
        predicted = None if undecided else np.array([bool(pair[k].is_anomalous) for pair in pairs], dtype=np.float64)
        parts.append(ImagesOf([pair[k].score for pair in pairs], is_anomalous, predicted))
    reason = f"{' and '.join(undecided)}: no decisions, as no threshold was given" if undecided else None
    return _statistics(metrics, parts, reason)


def _statistics(
    metrics: Sequence[Metric], parts: Sequence[Any], no_threshold: str | None
) -> tuple[Statistics, dict[str, str]]:
    """The statistics of A and of B, without those that need the threshold that is not there."""
    left_out = [metric for metric in metrics if metric.needs_threshold and no_threshold]
    statistics = {
        metric.name: (metric.resampled(parts[0]), metric.resampled(parts[1]))
        for metric in metrics
        if metric.resampled and metric not in left_out
    }
    return statistics, _without(left_out, no_threshold or "")


def _without(metrics: Sequence[Metric], reason: str) -> dict[str, str]:
    return {metric.name: reason for metric in metrics}


def _pixel_statistics(
    a: WrittenEvaluation, b: WrittenEvaluation, pairs: Sequence[Pair]
) -> tuple[Statistics, list[bool], dict[str, str]]:
    """As for images, of the images whose pixels both know, with their labels."""
    metrics = shown_in(COMPARED, "pixel")
    if a.pixels is None or b.pixels is None:
        return {}, [], _without(metrics, a.no_pixels or b.no_pixels or "")
    if a.resolution != b.resolution:
        reason = f"pixels were counted at {a.resolution} in A, at {b.resolution} in B: choose one --evaluation-size"
        return {}, [], _without(metrics, reason)
    places = [{int(row): k for k, row in enumerate(found.rows)} for found in (a.pixels, b.pixels)]
    known = [pair for pair in pairs if pair[0].row in places[0] and pair[1].row in places[1]]
    parts = [
        _pixels_of(found, [places[k][pair[k].row] for pair in known]) for k, found in enumerate((a.pixels, b.pixels))
    ]
    if not all(part.anomalous.any() and part.normal.any() for part in parts):
        return {}, [], _without(metrics, "no common image has a mask with a defect")
    has_threshold = all(part.first_predicted_anomalous is not None for part in parts)
    missing = None if has_threshold else "no threshold for pixels was given to one of the two"
    statistics, reasons = _statistics(metrics, parts, missing)
    return statistics, [bool(image.label) for image, _ in known], reasons


def _pixels_of(found: PixelCounts, chosen: Sequence[int]) -> PixelsOf:
    counts = found.counts[list(chosen)].astype(np.float64)
    first = None
    if found.threshold is not None:
        first = int(np.searchsorted(found.edges, np.float32(found.threshold))) + 1  # bin 0 is below every edge
    return PixelsOf(counts[:, 0], counts[:, 1], first)


def _as_dict(metric: Metric, found: Difference) -> dict[str, Any]:
    low, high = found.interval
    is_b_higher = low > 0
    better = None
    if low > 0 or high < 0:
        better = "b" if is_b_higher != metric.lower_is_better else "a"
    return {
        "a": found.a,
        "b": found.b,
        "difference": found.difference,
        "interval": [low, high],
        "better": better,
        "verdict": "not distinguishable" if better is None else f"{better.upper()} is better",
    }


def _verdict(metrics: dict[str, dict[str, Any]]) -> str:
    if "image_auroc" not in metrics:
        return "image AUROC cannot be compared"
    found = metrics["image_auroc"]
    low, high = found["interval"]
    return f"by image AUROC: {found['verdict']} (B - A {found['difference']:+.3f}, 95 % {low:+.3f} to {high:+.3f})"


def _image_counts(a: WrittenEvaluation, b: WrittenEvaluation, is_anomalous: Sequence[bool]) -> dict[str, int]:
    common = len(is_anomalous)
    return {
        "common": common,
        "normal": common - sum(is_anomalous),
        "anomalous": sum(is_anomalous),
        "only_in_a": len(a.images) - common,
        "only_in_b": len(b.images) - common,
        "unscored_in_a": a.num_unscored,
        "unscored_in_b": b.num_unscored,
    }


def _warning(is_anomalous: Sequence[bool]) -> str | None:
    fewest = min(sum(is_anomalous), len(is_anomalous) - sum(is_anomalous))
    return f"only {fewest} images of one kind: intervals are narrower than they should be" if fewest < FEW else None
