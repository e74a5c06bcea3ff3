"""Which test images the report shows, and in which order."""

import pytest

from cavga.evaluation.choose_cases import choose_cases, choose_first
from cavga.evaluation.verdicts import VERDICTS


def test_what_went_wrong_comes_first():
    scored = [
        (0.9, "found"),
        (0.1, "correctly passed"),
        (0.3, "missed"),
        (0.7, "false alarm"),
        (0.6, "found"),
        (0.2, "missed"),
        (0.8, "false alarm"),
        (0.4, "correctly passed"),
        (0.5, "called, elsewhere"),
        (0.65, "called, place unknown"),
    ]
    # missed 5, 2; elsewhere 8; false alarms 6, 3; found 4, 0; place unknown 9; passed 7, 1
    assert choose_cases(scored) == [5, 2, 8, 6, 3, 4, 0, 9, 7, 1]


def test_many_missed_defects_leave_room_for_the_others():
    missed = [(i / 1000, "missed") for i in range(100)]
    others = [(0.9, "found")] * 10 + [(0.1, "correctly passed")] * 10 + [(0.8, "false alarm")] * 10
    chosen = choose_cases(missed + others)
    assert len(chosen) == 24
    assert chosen[:14] == list(range(14))
    verdicts = [(missed + others)[i][1] for i in chosen]
    assert verdicts.count("false alarm") == verdicts.count("found") == 4
    assert verdicts.count("correctly passed") == 2


@pytest.mark.parametrize("maximum", [0, 1, 2, 5, 24])
def test_never_more_cases_than_the_maximum_and_none_twice(maximum):
    scored = [(i / 50, VERDICTS[i % len(VERDICTS)]) for i in range(50)]
    chosen = choose_cases(scored, maximum=maximum)
    assert len(chosen) == len(set(chosen)) == maximum
    assert choose_cases([], maximum=maximum) == []


def test_the_first_six_are_spread_over_the_scores():
    scored = [(float(i), "found") for i in range(40)] + [(-float(i), "correctly passed") for i in range(10)]
    # The middles of four quarters of 40 and of two halves of 10, the highest score first.
    assert [scored[i] for i in choose_first(scored)] == [
        *((score, "found") for score in (34.0, 24.0, 14.0, 4.0)),
        *((score, "correctly passed") for score in (-2.0, -7.0)),
    ]


@pytest.mark.parametrize(("found", "passed", "shown"), [(0, 9, 6), (1, 9, 6), (9, 0, 6), (1, 1, 2), (0, 0, 0)])
def test_where_one_kind_is_rare_the_other_fills_the_screen(found, passed, shown):
    scored = [(1.0 + i, "found") for i in range(found)] + [(-float(i), "correctly passed") for i in range(passed)]
    chosen = choose_first(scored)
    assert len(chosen) == len(set(chosen)) == shown


def test_the_first_six_hide_neither_missed_defects_nor_false_alarms():
    scored = [(1.0, "found")] + [(i / 100, "missed") for i in range(40)] + [(2.0 + i, "false alarm") for i in range(9)]
    assert {scored[i][1] for i in choose_first(scored)} == {"missed", "false alarm"}
