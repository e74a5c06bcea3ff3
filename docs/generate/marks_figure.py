"""The curve of marked photographs as SVG, from benchmarks/results/marks.jsonl."""

from collections.abc import Sequence
from typing import Any

from benchmarks.result_files import read_result

PANEL, GAP, LEFT, TOP, FOOT, PER_ROW = (210, 130), (34, 48), 40, 30, 46, 3
INK, RULE = "#333", "#ddd"
COUNTS = (0, 1, 2, 5, 10)
# way: colour, dashes, what the legend says
LINES = {
    "marks": ("#2b6cb0", "", "cavga refit, ± one deviation over draws"),
    "logistic regression": ("#dd6b20", "", "logistic regression"),
    "deviation network": ("#718096", "", "deviation network"),
    "PatchCore": ("#2f855a", "5 3", "PatchCore"),
    "PaDiM": ("#805ad5", "2 3", "PaDiM"),
}
NAMES = {
    "magnetic_tile": "magnetic tile", "mvtec_ad/screw": "screw", "elpv_mono": "ELPV",
    "mvtec_loco/juice_bottle": "juice bottle", "piped_paper/BTN01": "paper BTN01", "piped_paper/FLR01": "paper FLR01",
}  # fmt: skip
Row = dict[str, Any]


def marks_figure() -> str:
    """Recall at a promised 5 % by number of bad marks, a panel a set."""
    content = read_result("marks")
    rows: list[Row] = [row for part in ("tested", "beside", "unmarked") for row in content.get(part, ())]
    sets = [name for name in NAMES if any(row["data"] == name for row in rows)]
    num_rows = -(-len(sets) // PER_ROW)
    width = LEFT + PER_ROW * (PANEL[0] + GAP[0])
    height = TOP + num_rows * (PANEL[1] + GAP[1]) + FOOT
    parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for i, name in enumerate(sets):
        x, y = LEFT + i % PER_ROW * (PANEL[0] + GAP[0]), TOP + i // PER_ROW * (PANEL[1] + GAP[1])
        parts.append(_panel(name, [row for row in rows if row["data"] == name], x, y))
    shown = [way for way in LINES if any(row["way"] == way for row in rows)]
    parts.append(_legend(shown, height - FOOT + 12))
    label = "Recall at a promised false-alarm rate of 5 % by the number of photographs marked as bad, on six sets"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'font-family="sans-serif" font-size="11">{"".join(parts)}</svg>\n'
    )


def _panel(name: str, rows: Sequence[Row], x: float, y: float) -> str:
    realised = [row["realised_0.05"] for row in rows if row["way"] == "marks"]
    low, high = (f"{100 * value:.1f}" for value in (min(realised), max(realised)))
    alarms = f"false alarms {low if low == high else f'{low} to {high}'} %"
    parts = [_text(x, y - 8, NAMES[name], "start", weight="bold"), _text(x + PANEL[0], y - 8, alarms, "end")]
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = _height(y, value)
        parts.append(f'<path d="M{x} {height:.1f}h{PANEL[0]}" stroke="{RULE}"/>')
        if value in (0.0, 0.5, 1.0):
            parts.append(_text(x - 5, height + 4, f"{value:g}", "end"))
    parts += [_text(_place(x, count), y + PANEL[1] + 14, str(count), "middle") for count in COUNTS]
    for way in reversed(LINES):
        found = sorted((row for row in rows if row["way"] == way), key=lambda row: row["marks"])
        if found:
            parts.append(_line(way, found, x, y))
    return "".join(parts)


def _line(way: str, rows: Sequence[Row], x: float, y: float) -> str:
    colour, dashes, _ = LINES[way]
    points = [(_place(x, row["marks"]), row["recall_0.05"], row.get("recall_0.05_std", 0.0)) for row in rows]
    if len(points) == 1:  # cannot use marks: level
        points.append((_place(x, COUNTS[-1]), *points[0][1:]))
    drawn = " ".join(f"{px:.1f},{_height(y, value):.1f}" for px, value, _ in points)
    style = f'fill="none" stroke="{colour}" stroke-width="{2.5 if way == "marks" else 1.5}"'
    line = f'<polyline points="{drawn}" {style}{f" stroke-dasharray={dashes!r}" if dashes else ""}/>'
    if way != "marks":
        return line
    above = [f"{px:.1f},{_height(y, value + std):.1f}" for px, value, std in points]
    below = [f"{px:.1f},{_height(y, value - std):.1f}" for px, value, std in reversed(points)]
    return f'<polygon points="{" ".join(above + below)}" fill="{colour}" opacity="0.2"/>{line}'


def _legend(ways: Sequence[str], y: float) -> str:
    said = "recall at a promised 5 %, by the number of photographs marked as bad; false alarms are those of cavga refit"
    parts, x = [_text(LEFT, y - 4, said, "start")], float(LEFT)
    for way in ways:
        colour, dashes, text = LINES[way]
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<path d="M{x} {y + 16}h22" stroke="{colour}" stroke-width="2.5"{dashed}/>')
        parts.append(_text(x + 28, y + 20, text, "start"))
        x += 46 + 5.4 * len(text)
    return "".join(parts)


def _place(x: float, count: int) -> float:
    return x + 10 + (PANEL[0] - 20) * COUNTS.index(count) / (len(COUNTS) - 1)


def _height(y: float, value: float) -> float:
    return y + PANEL[1] * (1 - min(max(value, 0.0), 1.0))


def _text(x: float, y: float, text: str, anchor: str, *, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}">{text}</text>'
