"""What became of a test image: found, missed, a false alarm; the words for it, and how many of each."""

from collections import Counter
from collections.abc import Iterable, Mapping

from cavga.arrays import AnomalyMap, Mask
from cavga.data.records import ANOMALOUS, NORMAL
from cavga.images.resize import resize_map

MISSED, FALSE_ALARM, FOUND, PASSED = "missed", "false alarm", "found", "correctly passed"
ELSEWHERE, PLACE_UNKNOWN = "called, elsewhere", "called, place unknown"
VERDICTS = (MISSED, ELSEWHERE, FALSE_ALARM, FOUND, PLACE_UNKNOWN, PASSED)
"""All of them, in the order in which a reader wants to see them: what went wrong comes first."""
WRONG = (MISSED, ELSEWHERE, FALSE_ALARM)


def verdict_of(label: int, *, is_anomalous: bool, touches: bool | None = None) -> str:
    """One of VERDICTS, of a good (0) or a defective image (1).

    `touches` says whether what the model marks touches the true defect; None where the mask is not known.
    """
    if label == NORMAL:
        return FALSE_ALARM if is_anomalous else PASSED
    if not is_anomalous:
        return MISSED
    return {True: FOUND, False: ELSEWHERE, None: PLACE_UNKNOWN}[touches]


def touches(anomaly_map: AnomalyMap, pixel_threshold: float, mask: Mask) -> bool:
    """Whether what a model marks, map >= threshold, touches the true mask; at the mask's own size."""
    return bool((resize_map(anomaly_map, mask.shape)[mask] >= pixel_threshold).any())


def counts_of_verdicts(verdicts: Iterable[str]) -> dict[str, int]:
    """How many images have each verdict, by the names of `decisions` in metrics.json."""
    counts = Counter(verdicts)
    return {verdict.replace(", ", "_").replace(" ", "_"): counts[verdict] for verdict in VERDICTS}


def num_called(decisions: Mapping[str, int], label: int) -> tuple[int, int]:
    """How many images with this label were called anomalous, of how many; (0, 0) of no decisions."""
    anomalous, normal = _NAMES[label]
    called = sum(decisions.get(name, 0) for name in anomalous)
    return called, called + decisions.get(normal, 0)


_NAMES = {
    ANOMALOUS: (("found", "called_elsewhere", "called_place_unknown"), "missed"),
    NORMAL: (("false_alarm",), "correctly_passed"),
}
