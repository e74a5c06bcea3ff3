"""Which test images the report shows: six at first sight, then what went wrong."""

from collections.abc import Sequence

import numpy as np

from cavga.evaluation.verdicts import (
    ELSEWHERE,
    FALSE_ALARM,
    FOUND,
    MISSED,
    PASSED,
    PLACE_UNKNOWN,
    VERDICTS,
)

MAX_CASES = 24
NUM_FIRST = 6  # a screen of them: three beside one another, in two rows
NUM_FIRST_GOOD = 2  # of those
MIN_CASES = {FOUND: 4, PLACE_UNKNOWN: 4, PASSED: 2, FALSE_ALARM: 4}  # shown however many are missed
_LOWEST_FIRST = (MISSED, FOUND, ELSEWHERE, PLACE_UNKNOWN)


def choose_cases(scored: Sequence[tuple[float, str]], *, maximum: int = MAX_CASES) -> list[int]:
    """Which (score, verdict) to show, what went wrong first: the indices in display order.

    Missed defects by lowest score, false alarms by highest, called defects by lowest, passed ones by
    highest. At most half of the places are kept free by MIN_CASES.
    """
    by_verdict: dict[str, list[int]] = {verdict: [] for verdict in VERDICTS}
    for i, (_, verdict) in enumerate(scored):
        by_verdict[verdict].append(i)
    for verdict, members in by_verdict.items():
        members.sort(key=lambda i: scored[i][0], reverse=verdict not in _LOWEST_FIRST)
    taken = dict.fromkeys(by_verdict, 0)
    free = maximum // 2
    for verdict, minimum in MIN_CASES.items():
        taken[verdict] = min(minimum, len(by_verdict[verdict]), free)
        free -= taken[verdict]
    free = maximum - sum(taken.values())
    for verdict, members in by_verdict.items():
        more = min(len(members) - taken[verdict], free)
        taken[verdict] += more
        free -= more
    return [i for verdict, members in by_verdict.items() for i in members[: taken[verdict]]]


def choose_first(scored: Sequence[tuple[float, str]]) -> list[int]:
    """Which (score, verdict) to show at first sight: defective images from the clearest to the faintest, then good.

    They are spread evenly over the scores, whatever was called of them: neither the best nor the worst of the set.
    """
    defective = [i for i, (_, verdict) in enumerate(scored) if verdict not in (PASSED, FALSE_ALARM)]
    good = [i for i, (_, verdict) in enumerate(scored) if verdict in (PASSED, FALSE_ALARM)]
    num_good = min(len(good), max(NUM_FIRST_GOOD, NUM_FIRST - len(defective)))
    chosen = []
    for members, count in ((defective, NUM_FIRST - num_good), (good, num_good)):
        in_order = sorted(members, key=lambda i: -scored[i][0])
        # In the middle of as many equal parts, so neither the highest score nor the lowest.
        places = (np.arange(min(count, len(members))) + 0.5) * len(members) / max(1, min(count, len(members)))
        chosen += [in_order[int(place)] for place in places]
    return chosen
