"""The report's part about the threshold."""

import re

from cavga.evaluation.threshold_page import threshold_part
from cavga.evaluation.verdicts import counts_of_verdicts
from tests.evaluation.test_first_screen import calibration

SCORES = [(0.1, 0), (0.4, 0), (0.55, 0), (0.5, 1), (0.8, 1), (0.9, 1), (0.95, 1)]


def cells(page, title):
    rows = re.findall(r"<tr>.*?</tr>", page[page.index(title) :].split("</table>")[0])
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_the_confusion_matrix_counts_decisions():
    decisions = counts_of_verdicts(["found"] * 3 + ["missed"] + ["false alarm"] + ["correctly passed"] * 2)
    page = threshold_part(SCORES, 0.52, decisions, None)
    assert cells(page, "Confusion matrix")[1:] == [["defective", "3", "1"], ["good", "1", "2"]]


def test_other_thresholds_come_from_the_good_photographs_alone():
    kept = calibration(0.05)
    kept = kept.from_dict({**kept.as_dict(), "scores": [i / 100 for i in range(99)]})
    page = threshold_part(SCORES, 0.98, None, kept)
    rows = cells(page, "Other thresholds")[1:]
    assert [row[0] for row in rows] == ["1.0%", "2.0%", "5.0%", "10.0%", "20.0%"]
    # 5 of 100: just above the 95th of 99 scores, 0.94; of the defective images only 0.95 reaches it.
    assert rows[2][2:] == ["1 of 4", "0 of 3"]


def test_without_scores_or_with_one_label_only_what_can_be_drawn_is_there():
    assert threshold_part([], 0.5, None, None) == ""
    page = threshold_part([(0.1, 0), (0.2, 0)], 0.5, None, calibration(0.05))
    assert page.count("<svg") == 1
