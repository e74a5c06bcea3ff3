"""An evaluation as a section of the report: its figures, and the cases worth looking at."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.calibration.thresholds import Calibration, decision_warning
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.errors import DataError
from cavga.evaluation.attention_rows import AttentionCase
from cavga.evaluation.choose_cases import choose_cases, choose_first
from cavga.evaluation.report import Section
from cavga.evaluation.results import Evaluation, ScoredImage, Thresholds, has_known_mask, median_image, true_mask
from cavga.images.decode import read_for_display
from cavga.images.resize import resize_map
from cavga.inference.detector import AnomalyDetector
from cavga.rendering.html import Case
from cavga.rendering.scale import MapScale, picture_scale, scale_of_maps

MAX_SHOWN = 1024  # px, the largest input of a model
# A^cn and A^ca of a photograph, as `TorchEngine.class_attention` gives them
ClassAttentionOf = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]


def make_section(
    title: str,
    metrics: dict[str, Any],
    evaluation: Evaluation,
    detector: AnomalyDetector,
    class_attention: ClassAttentionOf | None,
) -> Section:
    """The report's section of one evaluation, with the cases worth looking at; attention where it is given."""
    thresholds = Thresholds(detector.image_threshold, detector.pixel_threshold)
    calibration = Calibration.from_dict(detector.description["calibration"])
    notes = [
        *calibration.guarantees(),
        *_decisions(detector, calibration),
        *_suspicious(detector),
    ]
    attention = _attention(evaluation, detector, class_attention)
    scale = picture_scale(detector)
    return section_of(
        title, metrics, evaluation, thresholds, notes=notes, attention=attention, scale=scale, calibration=calibration
    )


def section_of(
    title: str,
    metrics: dict[str, Any],
    evaluation: Evaluation,
    thresholds: Thresholds,
    *,
    notes: Sequence[str],
    attention: Sequence[AttentionCase] = (),
    scale: MapScale | None = None,
    calibration: Calibration | None = None,
) -> Section:
    """The section with these notes and the problems of the evaluation; no cases where nothing was decided.

    Without a model's `scale` of maps it is that of the cases.
    """
    scored = [(i, image) for i, image in enumerate(evaluation.images) if image.score is not None]
    scores = [(float(image.score or 0.0), image.record.label) for _, image in scored]
    verdicts = [image.verdict for _, image in scored]
    chosen: list[int] = []
    first: list[int] = []
    if None not in verdicts:
        judged = [(score, verdict or "") for (score, _), verdict in zip(scores, verdicts, strict=True)]
        chosen, first = choose_cases(judged), choose_first(judged)
    shown = [scored[k] for k in dict.fromkeys([*chosen, *first])]
    scale = scale or scale_of_maps((evaluation.maps[i] for i, _ in shown), thresholds.pixel)
    drawn, not_drawn = {}, []
    for i, image in shown:
        try:
            drawn[i] = _case(i, image, evaluation, thresholds, scale)
        except DataError as error:
            not_drawn.append(f"{error} (it was scored, and is not shown)")
    said = [*notes, *evaluation.problems, *evaluation.remarks, *not_drawn]
    cases, firsts = ([drawn[scored[k][0]] for k in places if scored[k][0] in drawn] for places in (chosen, first))
    return Section(title, metrics, scores, cases, said, firsts, calibration, attention, not_drawn)


def _attention(
    evaluation: Evaluation, detector: AnomalyDetector, class_attention: ClassAttentionOf | None
) -> list[AttentionCase]:
    """Attention on the normal and on the anomalous image with the median score; [] without a classifier."""
    if class_attention is None:
        return []
    cases = []
    for label in (NORMAL, ANOMALOUS):
        found = [image for image in evaluation.images if image.score is not None and image.record.label == label]
        if found:
            median = median_image(found)
            try:
                photograph = _photograph(median, detector.image_size)
            except DataError:  # the photograph went after it was scored, and the cases say so
                continue
            normal, anomalous = class_attention(photograph)
            mask = true_mask(median, detector.image_size) if has_known_mask(median) else None
            cases.append(AttentionCase(median.record.relative_path, label, photograph, normal, anomalous, mask))
    return cases


def _decisions(detector: AnomalyDetector, calibration: Calibration) -> list[str]:
    """What a weakly supervised model says of the labelled bad images it was trained on."""
    counts = detector.description.get("training_decisions")
    if not counts or not counts["num_bad"]:
        return []
    text = (
        f"of {counts['num_bad']} labelled bad training images {counts['bad_called_anomalous']} are predicted anomalous"
        f", of {counts['num_good']} good ones {counts['good_called_anomalous']}"
    )
    warning = decision_warning(counts, calibration)
    return [f"{text}: {warning}" if warning else text]


def _suspicious(detector: AnomalyDetector) -> list[str]:
    """The training images that the model itself finds least normal: a defect among the good ones hides there."""
    found = detector.description.get("suspicious_training_images", [])
    listed = ", ".join(f"{item['path']} ({item['score']:.3g})" for item in found)
    return [f"training images least like the others: {listed}; have a look at them"] if found else []


def _case(position: int, image: ScoredImage, evaluation: Evaluation, thresholds: Thresholds, scale: MapScale) -> Case:
    anomaly_map = evaluation.maps[position]
    size = _shown_size(anomaly_map.shape)
    return Case(
        path=image.record.relative_path,
        verdict=image.verdict or "",
        label=image.record.label,
        defect_type=image.record.defect_type,
        score=float(image.score or 0.0),
        threshold=thresholds.image,
        is_anomalous=bool(image.is_anomalous),
        photograph=_photograph(image, size),
        anomaly_map=resize_map(anomaly_map, size),
        scale=scale,
        mask=true_mask(image, size) if has_known_mask(image) else None,
        remark=image.p_value_in_words or "",
    )


def _shown_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """The size of a map, but of a large photograph's no more than MAX_SHOWN pixels a side: pages are for screens."""
    scale = min(1.0, MAX_SHOWN / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _photograph(image: ScoredImage, size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    photograph = Image.fromarray(read_for_display(image.record.path))
    return np.array(photograph.resize((width, height), Image.Resampling.BILINEAR))
