"""Line charts over the number of training images, as inline SVG; colours come from the page, light and dark."""

import math
from collections.abc import Sequence
from html import escape
from statistics import mean

from cavga.benchmark.tables.grids import METRICS, Row, value_of

SHOWN = ("pixel_auroc", "image_auroc")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 250, 40, 12, 12, 40  # in units of the view box
MAX_LINES = 6  # styles there are; a table has fewer
STYLE = """
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 3rem; }
:root { --line0: #4477aa; --line1: #d9662b; --line2: #2a7f62; --line3: #8a4f9e; --line4: #8a5300; --line5: #5a636e; }
@media screen and (prefers-color-scheme: dark) { :root { --line0: #77aadd; --line1: #ee8866; --line2: #66c2a0;
  --line3: #c9a0dc; --line4: #f0b45a; --line5: #a0a8b2; } }
.curve path, .keys path { fill: none; stroke-width: 2; } .curve .grid { stroke: var(--rule); }
.curve .chance { stroke: var(--dim); stroke-dasharray: 2 3; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; font-size: .85rem; }
.keys span { white-space: nowrap; } .keys svg { display: inline-block; width: 2.6rem; height: .8rem; max-width: none;
  vertical-align: -.1rem; margin-right: .4rem; }
""" + "".join(f".line{i} {{ stroke: var(--line{i}); fill: var(--line{i}); }}\n" for i in range(MAX_LINES))
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "1 4")  # so that lines differ without colour too

Points = dict[int, float]  # number of images -> mean over seeds


def curve_section(rows: Sequence[Row]) -> str:
    """HTML: one chart a metric with a line for every method; nothing where no experiment has a number of images."""
    done = [row for row in rows if row.get("num_images") is not None and not row["error"]]
    names = list(dict.fromkeys(row["cell"] for row in done))[:MAX_LINES]
    if not names:
        return ""
    keys = "".join(f"<span>{_key(i)}{escape(name)}</span>" for i, name in enumerate(names))
    charts = "".join(_chart(done, names, metric) for metric in SHOWN)
    return (
        "<section><h2>Over the number of normal training images</h2>"
        f'<div class="keys">{keys}</div><div class="curves">{charts}</div></section>'
    )


def num_images_of(row: Row) -> int:
    """How many normal images the experiment had, those that set its thresholds among them."""
    if row["num_images"] != "all":
        return int(row["num_images"])
    counts, rule = row["metrics"]["counts"], row["metrics"]["provenance"]["calibration"]
    held_out = 0 if rule["num_folds"] > 1 else counts["calibration"]  # folds are of the training images
    return int(counts["train"] + held_out)


def points_of(rows: Sequence[Row], name: str, metric: str) -> Points:
    """The line of one method, from few images to many; what cannot be computed is left out."""
    found: dict[int, list[float]] = {}
    for row in rows:
        value = value_of(row, metric)
        if row["cell"] == name and value is not None:
            found.setdefault(num_images_of(row), []).append(value)
    return {number: mean(found[number]) for number in sorted(found)}


def _chart(rows: Sequence[Row], names: Sequence[str], metric: str) -> str:
    lines = {name: points_of(rows, name, metric) for name in names}
    numbers = sorted({number for points in lines.values() for number in points})
    if not numbers:
        return ""
    lowest = min(0.5, *(value for points in lines.values() for value in points.values()))
    floor = math.floor(lowest * 10) / 10
    parts = [_levels(floor), *(_number_label(number, numbers) for number in numbers)]
    for i, points in enumerate(lines.values()):
        places = [(_x(number, numbers), _y(value, floor)) for number, value in points.items()]
        parts += [_line(places, i), *(_mark(x, y, i) for x, y in places)]
    title = METRICS[metric].title
    said = "; ".join(f"{name}: {_values(points)}" for name, points in lines.items())
    return (
        f'<figure class="plot"><figcaption>{title}</figcaption>'
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{title} over the number of images. {escape(said)}">{"".join(parts)}'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">'
        "normal training images (log scale)</text></svg></figure>"
    )


def _values(points: Points) -> str:
    return ", ".join(f"{number}: {value:.3f}" for number, value in points.items())


def _levels(floor: float) -> str:
    """Lines and labels at every tenth; that of 0.5, chance, is dotted."""
    parts = []
    for tenth in range(round(floor * 10), 11):
        y = _y(tenth / 10, floor)
        kind = "chance" if tenth == 5 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    return "".join(parts)


def _number_label(number: int, numbers: Sequence[int]) -> str:
    return f'<text x="{_x(number, numbers):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{number}</text>'


def _key(i: int) -> str:
    """A piece of a line, for the legend."""
    return (
        f'<svg viewBox="0 0 42 12" aria-hidden="true">{_line([(2.0, 6.0), (40.0, 6.0)], i)}{_mark(21.0, 6.0, i)}</svg>'
    )


def _line(places: Sequence[tuple[float, float]], i: int) -> str:
    dash = f' stroke-dasharray="{DASHES[i]}"' if DASHES[i] else ""
    return f'<path class="line{i}"{dash} d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>' if places else ""


def _mark(x: float, y: float, i: int) -> str:
    return f'<circle class="line{i}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _x(number: int, numbers: Sequence[int]) -> float:
    first, last = math.log(numbers[0]), math.log(numbers[-1])
    share = (math.log(number) - first) / (last - first) if last > first else 0.5
    return LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24)


def _y(value: float, floor: float) -> float:
    return TOP + (1 - value) / (1 - floor) * (HEIGHT - TOP - BOTTOM)
