from dataclasses import replace
from pathlib import Path

from cavga.calibration.advice import FEW_FOR_FOLDS, calibration_advice
from cavga.calibration.rules import GIVEN
from cavga.calibration.thresholds import Calibration

RUN = Path("runs/screw")
GOOD = Calibration("conformal", 200, 1, 0.05, 0.05, 0.1, 7.0, 8.0, 1.0, 6.0, guaranteed_mask_false_alarm_rate=0.1)


def test_thresholds_that_hold_what_was_asked_for_need_no_more_photographs():
    assert calibration_advice(GOOD, RUN) is None
    assert calibration_advice(replace(GOOD, guaranteed_false_alarm_rate=None), RUN) is None  # a rule without any rate


def test_where_the_rate_cannot_be_guaranteed_it_says_how_many_would():
    few = replace(GOOD, num_images=12, guaranteed_false_alarm_rate=1 / 13)
    said = calibration_advice(few, RUN)
    assert said.startswith("19 more good photographs through `cavga calibrate runs/screw FOLDER` would guarantee")
    assert "a false alarm rate of 0.05," in said
    assert calibration_advice(replace(few, false_alarm_rate=0.01), RUN).startswith("99 more")


def test_masks_are_counted_too():
    few = replace(GOOD, guaranteed_mask_false_alarm_rate=1 / 6)
    assert calibration_advice(few, RUN).startswith("9 more good photographs")
    both = replace(few, guaranteed_false_alarm_rate=0.2)
    assert "a false alarm rate of 0.05 and a mask false alarm rate of 0.1" in calibration_advice(both, RUN)


def test_folds_of_few_photographs_set_the_threshold_high():
    folds = replace(GOOD, num_folds=5)
    said = calibration_advice(folds, RUN)
    assert said.startswith("19 or more good photographs through")
    assert "folds of 200 photographs" in said
    assert calibration_advice(replace(folds, num_images=FEW_FOR_FOLDS), RUN) is None
    assert calibration_advice(replace(folds, threshold_rule=GIVEN), RUN) is None
