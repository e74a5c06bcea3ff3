"""The page of the readings of the paper's text, and its figure, from benchmarks/results/readings.jsonl."""

from collections.abc import Iterator, Sequence
from math import isfinite, nan
from statistics import mean
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import SCREW, Page, Row, markdown, show
from studies.readings.choice import best_allowed, for_preset, left_over, trained_best
from studies.readings.readings import ATTENTION, LOSSES, attention_readings

RESULT = "readings"
METHOD = """
`python -m studies.readings.study`. A row is one training of CAVGA_u with one change. The base is what trains by our own
account (w_adv 0.01, KL beside L_R as in the evidence lower bound, the rate along one cycle, down to 0, A the sigmoid of
Grad-CAM of the sum of mu at the features that mu is read from). "As it stood" is preset `paper` as it was. A is a real
double backward pass in every row.

- **Trained** says on how many sets a row passed the gate. L_R of held-out normal images has to be below that of each
  image's own mean grey, and at most {saturated:.0%} of A's patches on them within {extreme} of 0 or 1.
- **L_R** is where it ended between an exact reconstruction (0) and mean grey (1), mean over the sets.
- **Made** is the pixel AUROC of 1 - A on the self-test's anomalies, made on held-out normal images. It alone chooses.
- **Real** is that of the real test images, which choose nothing. The AUROC of A, the other sign, is 1 minus it. Digits
  have no masks, so they are not in it.
- **Allowed** is what the text does not contradict: a w_adv of 0.01 is not, it says 1.
- **Cuts**: {cuts}. Screening: 64 px, {screening} steps, one seed. At full size: 128 px, {final} steps.
"""
CHOICE = """
Losses first: of the allowed rows the one with the lowest L_R, `{trained}`. Then one change of attention at a time on
top of it, all of one network: beside sums L_ae weighs about a millionth of L_R. The best is the allowed row that is
trained on the most sets, and of those the one with the highest AUROC on made anomalies: `{best}`. The preset has to do
without a backward pass, which no exported graph has: that leaves A at z and at the features that mu is read from, and
every score but -L_R. A temperature and the mean over channels are one map in two units; the second needs no batch to
set it. The best of what is left: `{chosen}`.
"""
FULL = """
The chosen reading, and beside it, where it was run, preset `paper` as it stood. The steps are as many as at 64 px,
which is few. Image AUROC is that of the residual, as the text scores images (L1; squared: L2), pixel AUROC of the map
1 - A. "Residual" is the pixel AUROC of |x - x_hat| as a map.

- **Screw**: all defects lie on the screw, so a map that is high there ranks pixels well without knowing a defect. On
  anomalies made on held-out images, which are put where an image has structure, the pixel AUROC of 1 - A is {screw}.
  Every good test photograph is darker than every bad one, so the residual of an image ranks brightness.
- **Paper**: the residual, as a map, finds the impurities; 1 - A does not.
"""
FIGURE = """
![A on normal and on anomalous patches along training](../images/readings.svg)

A by steps, held-out images in eval mode. Blue is the mean over the patches of normal images and one standard deviation
to each side, orange that of patches with a made anomaly, the dashed line the mean of patches with a real one. A map can
find an anomaly only where orange leaves blue.
"""


def readings() -> Page:
    """The page of readings."""
    content = read_result(RESULT)
    rows: list[Row] = content["rows"]
    screened = [row for row in rows if row["stage"] == "screening"]
    final = [row for row in rows if row["stage"] == "final"]
    trained, best, chosen = taken(screened)
    names = list(dict.fromkeys(row["reading"] for row in screened))
    return Page(
        "Readings of the paper",
        "Which reading of the text trains, and does its attention find anything?",
        _found(screened, final, names, chosen),
        (
            f"## How it was measured\n{_method(content)}\n{CHOICE.format(trained=trained, best=best, chosen=chosen)}",
            f"## Every reading, small\n\n{_screening(screened, names)}",
            f"## By set\n\n{_by_set(screened, names)}",
            f"## At full size\n{FULL.format(screw=_made_on_screw(final, chosen))}\n{_final(final)}",
            f"## Why\n{FIGURE}",
            f"## What the text says\n\n{_sentences()}",
        ),
    )


def _found(screened: Sequence[Row], final: Sequence[Row], names: Sequence[str], chosen: str) -> str:
    num_sets = len({row["data"] for row in screened})
    passed = [name for name in names if num_passed(screened, name) == num_sets]
    real = {name: mean_of(screened, name, "test") for name in names}
    real = {name: value for name, value in real.items() if isfinite(value)}
    best = max(real, key=lambda name: real[name])
    return (
        f"{len(passed)} of {len(names)} readings are trained on all {num_sets} sets. The one of the preset is "
        f"`{chosen}`: pixel AUROC of 1 - A {show(finals(final, chosen))} on real anomalies at full size, mean over "
        "sets and seeds. The highest of all readings on real anomalies, which nobody could have chosen, is "
        f"{real[best]:.3f} (`{best}`), the lowest {min(real.values()):.3f}. "
        "[Decision 0026](../decisions/0026-readings.md) says what was taken."
    )


def taken(rows: Sequence[Row]) -> tuple[str, str, str]:
    """The reading that attention was changed on top of, the best allowed one, and the one of the preset."""
    trained = trained_best(rows)
    readings = [*LOSSES, *attention_readings(trained)]
    return trained.name, best_allowed(rows, readings).name, for_preset(rows, readings).name


def num_passed(rows: Sequence[Row], name: str) -> int:
    """On how many sets a reading passed the gate."""
    return sum(row["is_trained"] for row in rows if row["reading"] == name)


def mean_of(rows: Sequence[Row], name: str, part: str) -> float:
    """Pixel AUROC of 1 - A of a reading, mean over the sets with masks; nan if a training diverged."""
    found = [row[part] for row in rows if row["reading"] == name]
    known = [figures["pixel 1 - A"] for figures in found if figures.get("pixel 1 - A") is not None]
    return mean(known) if known and all(found) else nan


def finals(rows: Sequence[Row], name: str) -> Iterator[float]:
    """The same of each seed."""
    for seed in sorted({row["seed"] for row in rows if row["reading"] == name}):
        yield mean_of([row for row in rows if row["seed"] == seed], name, "test")


def _method(content: dict[str, Any]) -> str:
    budgets = content["budgets"]
    return METHOD.format(
        saturated=content["most_saturated"],
        extreme=content["extreme"],
        cuts=content["cuts"],
        screening=budgets["screening"]["steps"],
        final=budgets["final"]["steps"],
    )


def _screening(rows: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for name in names:
        found = [row for row in rows if row["reading"] == name]
        lines.append(
            [
                name,
                "yes" if found[0]["settings"]["allowed"] else "no",
                f"{num_passed(rows, name)} of {len(found)}",
                *_of_trained(rows, found, name),
            ]
        )
    return markdown(["", "allowed", "trained", "L_R", "saturated", "made", "real"], lines)


def _of_trained(rows: Sequence[Row], found: Sequence[Row], name: str) -> Sequence[str]:
    """L_R, saturation and both AUROCs, if none of the trainings diverged."""
    if any(row["L_R"] is None for row in found):
        return ["diverged", "-", "-", "-"]
    left, saturated = mean(left_over(row) for row in found), mean(row["saturated"] for row in found)
    return [show([left]), f"{saturated:.0%}", *(show([mean_of(rows, name, part)]) for part in ("made", "test"))]


def _by_set(rows: Sequence[Row], names: Sequence[str]) -> str:
    sets = list(dict.fromkeys(row["data"] for row in rows))
    lines = []
    for name in names:
        by_set = {row["data"]: row for row in rows if row["reading"] == name}
        lines.append([name, *(_both(by_set[data]) if data in by_set else "-" for data in sets)])
    text = "Pixel AUROC of 1 - A on real anomalies, and image AUROC of the residual (L1)."
    return f"{text}\n\n{markdown(['', *(data.split('/')[-1] for data in sets)], lines)}"


def _both(row: Row) -> str:
    return f"{show([row['test'].get('pixel 1 - A')])} / {show([row['test'].get('image L1')])}"


def _final(rows: Sequence[Row]) -> str:
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        for name in dict.fromkeys(row["reading"] for row in rows):
            found = [row for row in rows if (row["data"], row["reading"]) == (data, name)]
            if not found:
                continue
            keys = ("pixel 1 - A", "pixel L1", "image L1", "image L2")
            shown = (show(row["test"].get(key) for row in found) for key in keys)
            passed = f"{sum(row['is_trained'] for row in found)} of {len(found)}"
            lines.append([data.split("/")[-1], name, passed, *shown])
    head = ["", "", "trained", "1 - A", "residual", "image, L1", "image, L2"]
    return markdown(head, lines)


def _made_on_screw(rows: Sequence[Row], name: str) -> str:
    return show(row["made"].get("pixel 1 - A") for row in rows if (row["reading"], row["data"]) == (name, SCREW))


def _sentences() -> str:
    """Each change by itself, and what allows it."""
    changes = [(reading.name, reading.allowed_by or "the text says otherwise") for reading in LOSSES]
    changes += [(name, sentence) for name, sentence, _ in ATTENTION]
    return "\n".join(f"- `{name}`: {sentence}." for name, sentence in changes)


# The figure: a row of panels a reading, a column a set.
PANEL, GAP, LEFT, TOP = (150, 90), 22, 120, 34
BLUE, ORANGE, INK, RULE = "#2b6cb0", "#dd6b20", "#333", "#ccc"


def figure() -> str:
    """A of normal and of anomalous patches along training, as SVG."""
    content = read_result(RESULT)
    screened = [row for row in content["rows"] if row["stage"] == "screening"]
    shown = list(dict.fromkeys(["as it stood", "base", *taken(screened)]))
    rows = [row for row in screened if row["reading"] in shown]
    sets = list(dict.fromkeys(row["data"] for row in rows))
    width, height = LEFT + len(sets) * (PANEL[0] + GAP), TOP + len(shown) * (PANEL[1] + GAP) + 14
    parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for i, data in enumerate(sets):
        parts.append(_text(LEFT + i * (PANEL[0] + GAP) + PANEL[0] / 2, 20, data.split("/")[-1], "middle"))
    for j, name in enumerate(shown):
        y = TOP + j * (PANEL[1] + GAP)
        for k, line in enumerate(name.split("; ")):
            parts.append(_text(8, y + 16 + 14 * k, line if len(line) < 22 else f"{line[:20]}...", "start"))
        for i, data in enumerate(sets):
            (row,) = [row for row in rows if (row["reading"], row["data"]) == (name, data)]
            parts.append(_panel(row["watch"], LEFT + i * (PANEL[0] + GAP), y))
    label = "Mean and standard deviation of A on normal and on anomalous patches, by steps of training"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}</svg>\n'
    )


def _panel(points: Sequence[dict[str, Any]], x: float, y: float) -> str:
    steps = points[-1]["step"]

    def at(step: int, value: float) -> str:
        return f"{x + PANEL[0] * step / steps:.1f},{y + PANEL[1] * (1 - min(max(value, 0.0), 1.0)):.1f}"

    parts = [f'<rect x="{x}" y="{y}" width="{PANEL[0]}" height="{PANEL[1]}" fill="none" stroke="{RULE}"/>']
    for kind, colour in (("normal", BLUE), ("made", ORANGE)):
        known = [(point["step"], point[kind]) for point in points if point[kind]["mean"] is not None]
        above = [at(step, one["mean"] + one["std"]) for step, one in known]
        below = [at(step, one["mean"] - one["std"]) for step, one in reversed(known)]
        middle = [at(step, one["mean"]) for step, one in known]
        parts.append(f'<polygon points="{" ".join(above + below)}" fill="{colour}" opacity="0.2"/>')
        parts.append(f'<polyline points="{" ".join(middle)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    real = [(p["step"], p["real"]["mean"]) for p in points if "real" in p and p["real"]["mean"] is not None]
    if real:
        places = " ".join(at(*one) for one in real)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{INK}" stroke-dasharray="4 3"/>')
    marks = ((y + 4, "1"), (y + PANEL[1] + 4, "0"))
    parts += [_text(x - 4, place, text, "end") for place, text in marks]
    parts.append(_text(x + PANEL[0], y + PANEL[1] + 13, str(steps), "end"))
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}">{text}</text>'
