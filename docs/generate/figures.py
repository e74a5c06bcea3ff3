"""Sections of docs/results.md for the paper's settings at full length: the data curve and Figures 1 and 4."""

from collections.abc import Iterable
from typing import Any

from render_studies import markdown

CURVE = """`cavga benchmark data-curve`: magnetic tile, 128 px, so many good training images drawn by seed {seeds}, the
whole test; image / pixel AUROC. `paper` is R_u to layer3, fine-tuned, 2400 steps of 16 images whatever their number,
with and without L_ae. Of `recommended` no score reads what Eq. 4 trains, so L_ae changes none there. {devices}.
"""
COVERAGE = """`cavga benchmark fig1`: preset `paper`, R to layer3, fine-tuned, 150 epochs, 256 px, with L_ae and trained
anew with w_ae = 0; the mean of A over all good test images and the share of pixels above 0.5. So L_ae does what the
text says: attention covers the normal image with it and does not without it. It covers defects as well, see the tables
of `paper` above.
"""
CONTRAST = """`cavga benchmark fig4`: mean IoU of defective images by the contrast of their defect (its difference in
mean grey from a ring round it, in deviations of the image), screw and magnetic tile together, the runs of Table 3. The
last columns are Spearman's rank correlation of contrast and IoU with the size of the defect held fixed, and its 95 %
interval. The paper says that low contrast is where it fails, so the correlation should be positive.
"""


def data_curve(content: dict[str, Any]) -> str:
    """The section of data-curve.json: a line a method, a column a number of images."""
    rows = [row for row in content["rows"] if not row["error"]]
    numbers = list(dict.fromkeys(row["num_images"] for row in rows))
    lines = []
    for cell in dict.fromkeys(row["cell"] for row in rows):
        found = {row["num_images"]: row["metrics"] for row in rows if row["cell"] == cell}
        shown = (f"{found[number]['image']['auroc']:.3f} / {found[number]['pixel']['auroc']:.3f}" for number in numbers)
        lines.append([cell, *shown])
    text = CURVE.format(seeds=_seeds(rows), devices=_devices(rows))
    return f"## How many good images it takes\n\n{text}\n{markdown(['', *map(str, numbers)], lines)}"


def coverage(content: dict[str, Any]) -> str:
    """The section of fig1.json: the coverage of r-u's attention with and without L_ae."""
    lines = [
        [row["place"], row["model"], str(row["images"]), f"{row['mean']:.3f}", f"{100 * row['share_above_half']:.1f} %"]
        for row in content["coverage"]
        if row["map"] == "A"
    ]
    head = ["", "", "good test images", "mean of A", "A above 0.5"]
    return f"## Figure 1: what L_ae does to attention\n\n{COVERAGE}\n{markdown(head, lines)}"


def contrast(content: dict[str, Any]) -> str:
    """The section of fig4.json: a line a model, a column a bin of contrast."""
    lines = []
    for model, bins in content["bins"].items():
        found = content["rank_correlation"][model]["size_held_fixed"]
        low, high = found["interval"]
        shown = (f"{one['iou']:.3f} ({one['images']})" for one in bins)
        lines.append([model, *shown, f"{found['rho']:.2f}", f"{low:.2f} to {high:.2f}"])
    first = next(iter(content["bins"].values()))
    head = ["IoU (images)", *(one["contrast"] for one in first), "correlation", "95 %"]
    return f"## Figure 4: where it fails\n\n{CONTRAST}\n{markdown(head, lines)}"


def _seeds(rows: Iterable[dict[str, Any]]) -> str:
    return ", ".join(map(str, sorted({row["seed"] for row in rows})))


def _devices(rows: Iterable[dict[str, Any]]) -> str:
    devices = sorted({row["metrics"]["provenance"]["device"] for row in rows})
    return f"Device: {', '.join(devices)}"
