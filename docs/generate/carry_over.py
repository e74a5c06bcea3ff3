"""The page of the input's size and of the joined scores, from benchmarks/results/carry_over.jsonl."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import Page, markdown, show

Row = dict[str, Any]
CHOSEN, SOFT = "larger", "soft maximum"
NAMES = {"mvtec_ad/screw": "screw", "mvtec_loco/juice_bottle": "juice bottle", "elpv_mono": "ELPV"}
SCORES = {"image_auroc": "image AUROC", "recall": "recall"}  # whose figures follow from how scores are joined
TEXTURES = ("brick", "grass", "gravel")
ABOUT = """
`python -m studies.carry_over`: `r-u`, ResNet-18 with ImageNet weights, frozen, seed 0. Photographs are stored at 512 x
512 px, stretched, and seen at 256 and at 384 px. The prior is fitted to four fifths of the good training photographs;
the others set the scales.

- **Made**: anomalies of the self-test's kinds, made at 512 px on the good photographs that the prior has not seen.
  They are small and faint. Settings are chosen on these.
- **Test**: the real test photographs, of the three textures synthetic defects. They decide nothing.
- **Recall** is where a twentieth of the good ones of the same table are false alarms: it says what the ranking allows,
  not what a threshold reaches. Of the papers of PIPED and of the textures the mean is shown.
- **Pixels**: the side of a square with as many as a photograph has. Below 384 the larger input only enlarges.
"""
RULES = """
The mixture's and the factor model's score, a and b, in standard deviations of good photographs. "Soft maximum" is T
log(exp(a / T) + exp(b / T)), with T = 1 where nothing is said. The larger is what a model has. Means over sets.
"""


def carry_over() -> Page:
    """The page of carry_over."""
    rows: list[Row] = read_result("carry_over")["rows"]
    screw = [_value(rows, "screw", side, "test", CHOSEN, "pixel_ap") for side in (256, 384)]
    made = [_mean(rows, side, "made", "image_auroc", CHOSEN) for side in (256, 384)]
    soft = [_mean(rows, 384, part, "image_auroc", rule) for part in ("made", "test") for rule in (CHOSEN, SOFT)]
    return Page(
        "Pixels of the input, and two scores",
        "How large should the input be, and how are the prior's two scores joined?",
        f"At 384 px in place of 256 more of the made anomalies are found: mean image AUROC goes from {made[0]:.3f} to "
        f"{made[1]:.3f}. On real photographs the map gains where they have the pixels: pixel AP of screw goes from "
        f"{screw[0]:.3f} to {screw[1]:.3f}. A soft maximum of both scores in place of the larger one changes little "
        f"(384 px: made {soft[0]:.3f} and {soft[1]:.3f}, test {soft[2]:.3f} and {soft[3]:.3f}): the larger one stayed.",
        (f"## Pixels\n{ABOUT}\n" + _sides(rows), f"## Two scores\n{RULES}\n" + _rules(rows)),
    )


def _sides(rows: Sequence[Row]) -> str:
    parts = []
    for part in ("made", "test"):
        lines = [
            [
                _title(rows, data),
                *(
                    " / ".join(show([_value(rows, data, side, part, CHOSEN, key)]) for side in (256, 384))
                    for key in ("image_auroc", "recall", "pixel_auroc", "pixel_ap", "pixel_f1", "aupro")
                ),
            ]
            for data in _sets(rows)
        ]
        titles = ["256 / 384 px", "image AUROC", "recall", "pixel AUROC", "pixel AP", "pixel F1 (oracle)", "AUPRO"]
        parts.append(f"### {part.capitalize()}\n\n{markdown(titles, lines)}")
    return "\n\n".join(parts)


def _rules(rows: Sequence[Row]) -> str:
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    tables = []
    for side in (256, 384):
        shown = [(part, key) for part in ("made", "test") for key in SCORES]
        lines = [
            [f"**{rule}**" if rule == CHOSEN else rule, *(show([_mean(rows, side, *at, rule)]) for at in shown)]
            for rule in rules
        ]
        tables.append(markdown([f"{side} px", *(f"{part}: {SCORES[key]}" for part, key in shown)], lines))
    return "\n\n".join(tables)


def _sets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(_set_of(row["data"]) for row in rows))


def _set_of(data: str) -> str:
    if data in TEXTURES:
        return "textures"
    return "PIPED" if data.startswith("piped_paper") else NAMES.get(data, data)


def _title(rows: Sequence[Row], data: str) -> str:
    sides = {row["data"]: row["pixels"] for row in rows if _set_of(row["data"]) == data}
    papers = f" ({len(sides)} of 12 papers)" if data == "PIPED" else ""
    return f"{data}{papers}, {round(fmean(sides.values()))} px"


def _value(rows: Sequence[Row], data: str, side: int, part: str, rule: str, key: str) -> float | None:
    """The mean over what the set is made of; of maps whatever the rule."""
    some = [r for r in rows if _set_of(r["data"]) == data and r["side"] == side and r["part"] == part and key in r]
    return _known(row[key] for row in some if key not in SCORES or row["rule"] == rule)


def _mean(rows: Sequence[Row], side: int, part: str, key: str, rule: str) -> float | None:
    return _known(_value(rows, data, side, part, rule, key) for data in _sets(rows))


def _known(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None
