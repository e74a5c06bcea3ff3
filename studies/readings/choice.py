"""Which reading is taken: by the gate and by anomalies made on held-out normal images, never by test images."""

from collections.abc import Sequence
from math import inf
from statistics import mean
from typing import Any

from studies.readings.readings import LOSSES, Reading

Row = dict[str, Any]


def trained_best(rows: Sequence[Row]) -> Reading:
    """The allowed reading of LOSSES whose held-out L_R is nearest to an exact reconstruction, mean over the sets.

    Saturation does not count here: it is for the readings of attention to cure.
    """
    allowed = [reading for reading in LOSSES if reading.is_allowed and of(rows, reading)]
    return min(allowed, key=lambda reading: mean(left_over(row) for row in of(rows, reading)))


def for_preset(rows: Sequence[Row], readings: Sequence[Reading]) -> Reading:
    """The best allowed reading whose attention a deployed graph can compute."""
    return best_allowed(rows, [reading for reading in readings if reading.is_deployable])


def best_allowed(rows: Sequence[Row], readings: Sequence[Reading]) -> Reading:
    """The best of the allowed readings that are trained on the most sets."""
    allowed = [reading for reading in readings if reading.is_allowed and of(rows, reading)]
    most = max(num_trained(rows, reading) for reading in allowed)
    return best(rows, [reading for reading in allowed if num_trained(rows, reading) == most])


def best(rows: Sequence[Row], readings: Sequence[Reading]) -> Reading:
    """The highest pixel AUROC of 1 - A on made anomalies, mean over the sets."""
    return max(readings, key=lambda reading: made_auroc(of(rows, reading)))


def made_auroc(rows: Sequence[Row]) -> float:
    """The mean over rows of the pixel AUROC of 1 - A on made anomalies."""
    return mean(row["made"].get("pixel 1 - A", 0.0) for row in rows)


def left_over(row: Row) -> float:
    """Held-out L_R between an exact reconstruction (0) and each image's own mean grey (1); infinite if it diverged."""
    if row["L_R"] is None:
        return inf
    return (row["L_R"] - row["L_R_exact"]) / (row["L_R_grey"] - row["L_R_exact"])


def num_trained(rows: Sequence[Row], reading: Reading) -> int:
    """On how many sets the reading passed the gate."""
    return sum(row["is_trained"] for row in of(rows, reading))


def of(rows: Sequence[Row], reading: Reading) -> list[Row]:
    """The rows of a reading."""
    return [row for row in rows if row["reading"] == reading.name]
