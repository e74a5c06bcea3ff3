"""What a reader of the report sees first: the alarm, the sentence, the numbers."""

import pytest

from cavga.calibration.thresholds import Calibration
from cavga.evaluation.first_screen import alarm_line, first_screen, learnt_sentence, numbers
from cavga.evaluation.verdicts import counts_of_verdicts


def calibration(promised):
    return Calibration(
        threshold_rule="conformal",
        num_images=25,
        num_folds=1,
        false_alarm_rate=0.05,
        guaranteed_false_alarm_rate=promised,
        mask_false_alarm_rate=0.1,
        image_threshold=1.0,
        pixel_threshold=1.0,
        score_min=0.0,
        score_max=1.0,
    )


def metrics(*, alarms, good, train=32):
    verdicts = ["false alarm"] * alarms + ["correctly passed"] * (good - alarms) + ["found"] * 3 + ["missed"]
    counts = {"train": train, "test_normal": good, "test_anomalous": 4}
    return {"decisions": counts_of_verdicts(verdicts), "counts": counts}


def test_an_alarm_that_chance_cannot_explain():
    text = alarm_line(metrics(alarms=14, good=25), calibration(0.04))
    assert "14 of 25 good photographs (56.0%), not 4.0%" in text
    assert "`cavga calibrate`" in text
    assert "chance" not in text


def test_an_alarm_that_chance_may_explain_gives_the_interval():
    text = alarm_line(metrics(alarms=1, good=16), calibration(0.03))
    assert "1 of 16 good photographs (6.2%), not 3.0%" in text
    assert "the rate lies between 0.2% and 30.2%" in text


@pytest.mark.parametrize(("found", "promised"), [((1, 25), 0.04), ((0, 25), 0.04), ((0, 0), 0.04), ((20, 25), None)])
def test_no_alarm_at_or_below_what_the_threshold_is_set_for(found, promised):
    assert alarm_line(metrics(alarms=found[0], good=found[1]), calibration(promised)) is None


def test_the_alarm_stands_before_everything_else():
    page = first_screen(metrics(alarms=14, good=25), calibration(0.04), [])
    assert page.startswith('<p class="alarm">More false alarms')


def test_the_sentence_names_labelled_bad_photographs_and_is_silent_where_nothing_is_known():
    found = metrics(alarms=0, good=2)
    found["counts"]["train_anomalous"] = 5
    assert learnt_sentence(found).startswith("Learnt what is normal from 32 good and 5 labelled bad photographs.")
    found["counts"]["train"] = None
    assert learnt_sentence(found) == "Tried on 6 other photographs."


def test_places_are_only_counted_where_a_mask_is_known():
    decisions = counts_of_verdicts(["called, place unknown"] * 2 + ["missed"])
    page = numbers(decisions, None)
    assert "<b>2 of 3</b> defective photographs called anomalous" in page
    assert "mark" not in page
    assert "1 without a true mask" in numbers(counts_of_verdicts(["found", "called, place unknown"]), None)
