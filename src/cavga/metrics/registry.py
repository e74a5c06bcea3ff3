"""One table of metrics: where each stands in metrics.json, what it is called, what it says and where it is shown.

A new metric is one line here and its computation in `cavga.metrics.image` or `cavga.metrics.pixel`: its key in what
they return, and for `cavga compare` a function that takes resampled images. No torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cavga.metrics.bootstrap import (
    ImagesOf,
    Statistic,
    auroc_of,
    average_precision_of,
    balanced_accuracy_of,
    false_alarm_rate_of,
    iou_of,
    iou_per_image_of,
    pixel_auroc_of,
    recall_of,
)

REPORT = "figures of merit in report.html"
BY_TYPE = "by defect type, in metrics.json and report.html"
CONSOLE = "the table that commands print"
COMPARED = "`cavga compare`"
TABLES = "tables of `cavga benchmark`"
RESULTS = "docs/results"
OF_PAPER = "docs/results, beside the paper's figures"
RATE = ".1%"


@dataclass(frozen=True)
class Metric:
    """One figure of metrics.json."""

    section: str
    """"image" or "pixel"."""
    key: str
    """Its name in the section."""
    title: str
    """As the head of a column."""
    shown: frozenset[str] = frozenset()
    """Where: of the names above."""
    heading: str = ""
    """In the report, with `meaning` below it."""
    meaning: str = ""
    lower_is_better: bool = False
    needs_threshold: bool = False
    style: str = ".3f"
    resampled: Callable[[Any], Statistic] | None = None
    """For COMPARED: from ImagesOf or PixelsOf."""
    derived: Callable[[Mapping[str, Any]], float | None] | None = None
    """What is not in metrics.json but follows from it."""

    @property
    def name(self) -> str:
        """Its name where sections are not told apart: "image_auroc", "recall"."""
        return f"{self.section}_{self.key}" if self.key in _IN_BOTH else self.key

    def of(self, metrics: Mapping[str, Any]) -> float | None:
        """The value in the content of metrics.json."""
        if self.derived is not None:
            return self.derived(metrics)
        found: float | None = (metrics.get(self.section) or {}).get(self.key)
        return found


def _best_f1(metrics: Mapping[str, Any]) -> float | None:
    """The best F1 of pixels follows from the best IoU, which the same threshold gives."""
    iou = metrics["pixel"]["iou_dataset_oracle"]
    return None if iou is None else 2 * iou / (1 + iou)


def _image_auroc(images: ImagesOf) -> Statistic:
    return auroc_of(images.scores, images.is_anomalous)


def _image_average_precision(images: ImagesOf) -> Statistic:
    return average_precision_of(images.scores, images.is_anomalous)


METRICS = (  # in the order in which they are shown everywhere
    Metric(
        "image", "auroc", "image AUROC", frozenset({REPORT, BY_TYPE, CONSOLE, COMPARED, TABLES, RESULTS, OF_PAPER}),
        "Image AUROC", "how often a defective image scores above a good one; 0.5 is chance",
        resampled=_image_auroc,
    ),
    Metric(
        "image", "average_precision", "image AP", frozenset({COMPARED}),
        resampled=_image_average_precision,
    ),
    Metric(
        "image", "balanced_accuracy", "balanced accuracy", frozenset({REPORT, COMPARED, TABLES, OF_PAPER}),
        "Balanced accuracy", "right decisions, good and defective counted alike",
        needs_threshold=True, style=RATE, resampled=balanced_accuracy_of,
    ),
    Metric(
        "image", "recall", "recall", frozenset({REPORT, BY_TYPE, CONSOLE, COMPARED, RESULTS}),
        "Recall", "defective images called anomalous",
        needs_threshold=True, style=RATE, resampled=recall_of,
    ),
    Metric(
        "image", "false_alarm_rate", "false alarms", frozenset({REPORT, CONSOLE, COMPARED, RESULTS}),
        "False alarm rate", "good images called anomalous",
        lower_is_better=True, needs_threshold=True, style=RATE, resampled=false_alarm_rate_of,
    ),
    Metric(
        "pixel", "auroc", "pixel AUROC", frozenset({REPORT, BY_TYPE, CONSOLE, COMPARED, TABLES, RESULTS, OF_PAPER}),
        "Pixel AUROC", "how often a defective pixel lies above a good one; large defects dominate",
        resampled=pixel_auroc_of,
    ),
    Metric("pixel", "average_precision", "pixel AP", frozenset({RESULTS, OF_PAPER})),
    Metric("pixel", "f1_oracle", "pixel F1 (oracle)", frozenset({RESULTS, OF_PAPER}), derived=_best_f1),
    Metric(
        "pixel", "aupro", "AUPRO", frozenset({REPORT, BY_TYPE, CONSOLE, RESULTS, OF_PAPER}),
        "AUPRO", "share of each defect that is covered, small ones alike; false positives up to 30%",
    ),
    Metric(
        "pixel", "iou_dataset", "IoU", frozenset({REPORT, CONSOLE, COMPARED, TABLES, OF_PAPER}),
        "IoU at the threshold", "overlap of marked and true pixels, over the whole test set",
        needs_threshold=True, resampled=iou_of,
    ),
    Metric(
        "pixel", "iou_per_image", "IoU per image", frozenset({COMPARED}),
        needs_threshold=True, resampled=iou_per_image_of,
    ),
    Metric(
        "pixel", "iou_dataset_oracle", "IoU (oracle)", frozenset({REPORT}),
        "IoU, oracle", "oracle: threshold chosen on the test masks; not reachable in use",
    ),
)  # fmt: skip
_IN_BOTH = {metric.key for metric in METRICS if metric.section == "image"} & {
    metric.key for metric in METRICS if metric.section == "pixel"
}


def shown_in(place: str, section: str | None = None) -> tuple[Metric, ...]:
    """The metrics that are shown somewhere, in order; of one section if it is given."""
    return tuple(metric for metric in METRICS if place in metric.shown and section in (None, metric.section))
