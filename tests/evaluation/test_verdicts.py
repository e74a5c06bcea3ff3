"""Found means that what is marked touches the defect."""

import numpy as np
import pytest

from cavga.evaluation.verdicts import VERDICTS, counts_of_verdicts, num_called, touches, verdict_of


@pytest.mark.parametrize(
    ("label", "is_anomalous", "is_touched", "verdict"),
    [
        (1, True, True, "found"),
        (1, True, False, "called, elsewhere"),
        (1, True, None, "called, place unknown"),
        (1, False, True, "missed"),
        (0, True, None, "false alarm"),
        (0, False, None, "correctly passed"),
    ],
)
def test_each_verdict(label, is_anomalous, is_touched, verdict):
    assert verdict_of(label, is_anomalous=is_anomalous, touches=is_touched) == verdict


def test_one_pixel_at_the_threshold_touches_and_its_neighbour_does_not():
    anomaly_map = np.zeros((4, 4), dtype=np.float32)
    anomaly_map[1, 2] = 3.0
    mask = np.zeros((4, 4), dtype=bool)
    mask[1, 2] = True
    assert touches(anomaly_map, 3.0, mask)
    assert not touches(anomaly_map, 3.1, mask)
    assert not touches(anomaly_map, 3.0, np.roll(mask, 1, axis=1))


def test_the_map_is_brought_to_the_masks_own_size():
    anomaly_map = np.zeros((4, 4), dtype=np.float32)
    anomaly_map[0, 0] = 9.0
    mask = np.zeros((400, 800), dtype=bool)
    mask[10, 20] = True
    assert touches(anomaly_map, 5.0, mask)


def test_counts_add_up():
    decisions = counts_of_verdicts([*VERDICTS, "found", "missed"])
    assert num_called(decisions, 1) == (4, 6)
    assert num_called(decisions, 0) == (1, 2)
    assert num_called({}, 1) == (0, 0)
