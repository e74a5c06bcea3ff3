"""The page about marked photographs: what a few of them add at a promised false-alarm rate."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.result_files import read_result
from cavga.metrics.significance import clopper_pearson
from docs.generate.tables import Page, markdown
from studies.marks.lamp import BLUR, GAIN, NUM_LAMP_DRAWS, TINT
from studies.marks.study import NUM_MANY_DRAWS

COUNTS = (0, 1, 2, 5, 10)
BASELINES = ("logistic regression", "deviation network")
UNMARKED = ("PaDiM", "PatchCore")
RATES = ("0.05", "0.01")
FIGURE = """
![Recall by the number of bad marks, six sets](../images/five-clicks.svg)
"""
MANY_TEXT = f"""
Half of the bad photographs marked, the others looked at: where even that adds little, what z holds does not tell the
missed ones from good ones. The last column is the share found of those that are missed without marks. Over
{NUM_MANY_DRAWS} draws, recall at 5 %.
"""
LAMP_TEXT = f"""
All test photographs are shown {GAIN - 1:.0%} brighter, warmer (red {TINT[0]:g}, blue {TINT[2]:g} times as much) and
less sharp (blurred by {BLUR} px), as another lamp might. Some of the good ones are marked, the rest is looked at:
false alarms at a promised 5 %, and recall. **calibrate** takes new thresholds from the same photographs alone;
**refit** learns them as good marks. Over {NUM_LAMP_DRAWS} draws.
"""
TEXT = """
`python -m studies.marks.study`: r-u, frozen ResNet-18, ImageNet weights, 256 px (papers of PIPED: 128 px), seed 0. So
many bad test photographs are drawn and marked, ten times; the others and the good ones are looked at. Thresholds come
from the training photographs alone, each scored by prior and head of the other folds. One setting for all sets.

- **Recall** is at a false-alarm rate of 5 % or 1 % that was asked for, ± its standard deviation over draws; in brackets
  the rate on the good test photographs. **False alarms** is that rate at 5 %, with the 95 % interval (Clopper-Pearson)
  that so few good photographs leave.
- **Used** is the share of draws in which marks earned a weight at all. A single mark never does: it cannot be left out.
- Marks change scores, not maps: figures of pixels are those of the unmarked run.
- **Logistic regression** is on the mean of the same encoder's features, both classes weighing alike. **Deviation
  network** is a layer on every patch of z with the deviation loss of DevNet, three draws. Their thresholds are of the
  same folds.
- **PaDiM** and **PatchCore** cannot use marks. They are on the same z with thresholds of the same folds: a Gaussian a
  position over 100 channels, and the distance to the nearest of 4000 patches. With features of their own they stand in
  [real sets](real-sets.md).
- With fewer than 99 photographs 1 % cannot be had: the threshold is then the highest score (papers).
- The rule was chosen on made anomalies alone (below), before any real photograph was marked. Its bound on what other
  anomalies may lose came later: it was looked at on real marks of one type ([0027](../decisions/0027-marks.md)).
"""


def marks() -> Page:
    """The page of studies.marks."""
    content = read_result("marks")
    tested = content["tested"]
    return Page(
        "Five clicks",
        "What do a few photographs that a person marks as bad add, when the false-alarm rate is to hold?",
        _found(tested, content["unseen"]),
        (
            f"## The curve\n{TEXT}",
            f"{FIGURE}\n{_curve(tested)}",
            "## Beside what else uses marks\n\nRecall at 5 % (realised rate).",
            _beside([*tested, *content["beside"], *content["unmarked"]]),
            f"## What many marks add\n{MANY_TEXT}",
            _many(content["many"]),
            "## Defects of other types\n\nTen marks of one defect type: recall at 5 % and 1 % on the rest of that "
            "type, and on all others, without marks and with them. Over ten draws.",
            _unseen(content["unseen"]),
            *([f"## Another lamp\n{LAMP_TEXT}", _lamp(content["lamp"])] if content["lamp"] else []),
            "## One of five is good\n\nFive marks, one of which is a good photograph marked bad by mistake.",
            _contaminated(tested, content["contaminated"]),
            "## As `cavga suggest` proposes\n\nOf all test photographs it chooses so many; the bad ones among "
            "them are marked, the rest is looked at (with and without those marks).",
            _suggested(content["suggested"]),
            "## What the rule was chosen on\n\nAnomalies of the self-test's kinds, made on training photographs. "
            "Some of three kinds are marked, and looked for on photographs that set no threshold. Recall at 5 % / 1 %; "
            "for certain means at that weight whatever marks say. Unseen are the kinds of which none is marked.",
            _chosen(content["chosen"]),
        ),
    )


def _found(tested: Sequence[dict[str, Any]], unseen: Sequence[dict[str, Any]]) -> str:
    by = {(row["data"], row["marks"]): row["recall_0.05"] for row in tested}
    sets = list(dict.fromkeys(row["data"] for row in tested))
    changes = [by[name, 5] - by[name, 0] for name in sets]
    own = [_pair(unseen, data, kind, "recall_0.05") for data, kind in _kinds(unseen)]
    before, after = (sum(pair[i] for pair in own) / len(own) for i in (0, 1))
    ten = [by[name, 10] - by[name, 0] for name in sets]
    return (
        f"With five marks recall at a promised 5 % changes by {min(changes):+.3f} to {max(changes):+.3f} on "
        f"{len(sets)} sets, with ten by {min(ten):+.3f} to {max(ten):+.3f}. Where the marks are of one defect type, "
        f"that type's recall goes from {before:.2f} to {after:.2f} in the mean over {len(own)} types."
    )


def _recall(row: dict[str, Any], rate: str) -> str:
    return f"{_recall_alone(row, rate)} ({row[f'realised_{rate}']:.3f})"


def _recall_alone(row: dict[str, Any], rate: str) -> str:
    spread = f" ± {row[f'recall_{rate}_std']:.3f}" if row.get("marks", 1) else ""
    return f"{row[f'recall_{rate}']:.3f}{spread}"


def _realised(row: dict[str, Any]) -> str:
    """The share of good photographs, and the interval that so many of them leave."""
    low, high = clopper_pearson(round(row["realised_0.05"] * row["good"]), row["good"])
    return f"{row['realised_0.05']:.3f} ({low:.3f} to {high:.3f})"


def _curve(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["data"],
            str(row["marks"]),
            _recall_alone(row, RATES[0]),
            _realised(row),
            _recall(row, RATES[1]),
            f"{row['image_auroc']:.3f}",
            _used(row),
        ]
        for row in rows
    ]
    head = ("set", "bad marks", "recall at 5 %", "false alarms at 5 %", "recall at 1 %", "image AUROC", "used")
    return markdown(head, lines)


def _used(row: dict[str, Any]) -> str:
    return f"{row['used']:.2f}"


def _beside(rows: Sequence[dict[str, Any]]) -> str:
    lines, ways = [], ("marks", *BASELINES, *UNMARKED)
    for name in dict.fromkeys(row["data"] for row in rows):
        for count in COUNTS:
            found = {row["way"]: row for row in rows if (row["data"], row["marks"]) == (name, count)}
            lines.append([name, str(count), *(_cell(found.get(way)) for way in ways)])
    return markdown(("set", "bad marks", "cavga refit", *BASELINES, *UNMARKED), lines)


def _cell(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['recall_0.05']:.3f} ({row['realised_0.05']:.3f})"


def _many(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["data"], str(row["marks"]), row["way"].replace("_", " "), _recall_alone(row, RATES[0]),
            f"{row['realised_0.05']:.3f}", f"{row['unseen_0.05']:.2f}" if "unseen_0.05" in row else "none missed",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown(("set", "marks", "way", "recall", "false alarms", "of the missed"), lines)


def _lamp(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        cells = [_with_spread(row, f"{lamp}_{what}") for lamp in ("new", "old") for what in ("false_alarms", "recall")]
        lines.append([row["data"], row["way"], str(row["good marks"]), *cells])
    head = ("set", "way", "good marks", "false alarms", "recall", "false alarms, old lamp", "recall, old lamp")
    return markdown(head, lines)


def _with_spread(row: dict[str, Any], name: str) -> str:
    spread = f" ± {row[f'{name}_std']:.2f}" if f"{name}_std" in row else ""
    return f"{row[name]:.2f}{spread}"


def _kinds(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row["data"], row["kind"]) for row in rows))


def _pair(rows: Sequence[dict[str, Any]], data: str, kind: int, figure: str) -> tuple[float, float]:
    found = {row["way"]: row[figure] for row in rows if (row["data"], row["kind"]) == (data, kind)}
    return found["no marks"], found["rule"]


def _unseen(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for data, kind in _kinds(rows):
        pairs = [_pair(rows, data, kind, f"{name}_{rate}") for rate in RATES for name in ("recall", "unseen")]
        lines.append([data, str(kind), *(f"{before:.3f} to {after:.3f}" for before, after in pairs)])
    return markdown(("set", "type, by name", "this type, 5 %", "the others", "this type, 1 %", "the others"), lines)


def _contaminated(tested: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> str:
    clean = {row["data"]: row for row in tested if row["marks"] == 5}
    lines = [[row["data"], _recall(clean[row["data"]], "0.05"), _recall(row, "0.05"), _used(row)] for row in rows]
    return markdown(("set", "five bad marks", "four and a good one", "used"), lines)


def _suggested(rows: Sequence[dict[str, Any]]) -> str:
    return markdown(("set", "suggested", "bad among them", "without", "with these marks"), list(_suggested_lines(rows)))


def _suggested_lines(rows: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    for data, count in dict.fromkeys((row["data"], row["suggested"]) for row in rows):
        found = {row["way"]: row for row in rows if (row["data"], row["suggested"]) == (data, count)}
        cells = [f"{found[way]['recall_0.05']:.3f} ({found[way]['realised_0.05']:.3f})" for way in ("no marks", "rule")]
        yield [data, str(count), str(found["rule"]["bad"]), *cells]


def _chosen(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            row["data"], str(row["marks"]), row["way"].replace("_", " "),
            f"{row['recall_0.05']:.3f} / {row['recall_0.01']:.3f}",
            f"{row['realised_0.05']:.3f} / {row['realised_0.01']:.3f}",
            f"{row['unseen_0.05']:.3f} / {row['unseen_0.01']:.3f}",
        ]
        for row in rows
    ]  # fmt: skip
    return markdown(("set", "marks", "way", "recall", "realised", "recall, unseen"), lines)
