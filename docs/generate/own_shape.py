"""The page of photographs in their own shape, from benchmarks/results/own_shape.jsonl."""

from collections.abc import Sequence

from benchmarks.result_files import read_result
from docs.generate.tables import IMAGE, TILE, Metric, Page, Row, markdown, of, section, show

JUICE = "mvtec_loco/juice_bottle"
RECALL: Metric = ("image", "recall")
FALSE_ALARMS: Metric = ("image", "false_alarm_rate")
AUPRO: Metric = ("pixel", "aupro")
STRETCHED, OWN, LETTERBOXED = "stretched", "own shape", "letterboxed"
TEXT = """
`python -m studies.own_shape`: `r-u` of `recommended`, `efficientnet_lite0` with ImageNet weights. "Stretched" is 256 x
256 pixels, "own shape" the shape of `--image-size auto` at as many pixels; auto itself takes more where there are more
([decision 0031](../decisions/0031-pixels.md)).

- **Pixel figures** are at the input's size. Stretching keeps shares of the area, so both count the same pixels.
- **Juice bottle** is 800 x 400 pixels, at an input of 352 x 192; its defects are logical ones. **Magnetic tile** is at
  288 x 224.
- **Screw and ELPV** are square: their own shape is 256 x 256, so nothing changes and nothing was run.
- **Magnetic tile is mixed**: height to width is 0.4 to 2.5. "Letterboxed" pads each photograph with its mean colour to
  the input's shape. Its pixel figures count the padding, in which nothing is anomalous, so they are not compared.
- **Chosen on this**: nothing. The rule was set before; these figures only say what it does.
"""
WHY = """
Why does pixel AUROC fall on juice bottle? The test maps of the two runs of seed 0, taken apart, at the middle of each
patch. Nothing here is a setting; good test photographs are used as a known normal, which a model may not.

"""


def own_shape() -> Page:
    """The page of own_shape."""
    content = read_result("own_shape")
    rows: list[Row] = content["rows"]
    image = [_change(rows, IMAGE, data) for data in (JUICE, TILE)]
    return Page(
        "Photographs in their own shape",
        "Do photographs that keep their shape serve better than photographs that are stretched to a square?",
        f"Not on every set. Image AUROC of juice bottle goes {image[0]}, of magnetic tile, whose photographs are of "
        f"mixed shapes, {image[1]}. Recall at the threshold goes {_change(rows, RECALL, JUICE)} and "
        f"{_change(rows, RECALL, TILE)}, false alarms {_change(rows, FALSE_ALARMS, JUICE)} and "
        f"{_change(rows, FALSE_ALARMS, TILE)}, AUPRO {_change(rows, AUPRO, JUICE)} and {_change(rows, AUPRO, TILE)}. "
        f"Letterboxed magnetic tile has an image AUROC of {of(rows, LETTERBOXED, IMAGE, TILE):.3f}.",
        (section("Stretched, own shape, letterboxed", TEXT, rows), _why(content["maps"])),
    )


def _change(rows: Sequence[Row], metric: Metric, data: str) -> str:
    return f"from {of(rows, STRETCHED, metric, data):.3f} to {of(rows, OWN, metric, data):.3f}"


def _why(maps: Sequence[Row]) -> str:
    """Pixel AUROC of juice bottle with one thing taken out of the maps at a time."""
    names = list(dict.fromkeys(row["change"] for row in maps))
    found = {(row["cell"], row["change"]): row["pixel_auroc"] for row in maps}
    lines = [
        [name, *(show([found[cell, name]]) for cell in (STRETCHED, OWN)), f"{_gap(found, name):+.3f}"] for name in names
    ]
    table = markdown(["", STRETCHED, OWN, "difference"], lines)
    return f"## Pixels of juice bottle\n{WHY}{table}"


def _gap(found: dict[tuple[str, str], float], name: str) -> float:
    return found[OWN, name] - found[STRETCHED, name]
