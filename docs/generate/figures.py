"""The page about the paper's Figures 1 and 4, and about both classes' attention."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import SCREW, Page, in_words, markdown, show

COVERAGE = """
`cavga benchmark fig1`: preset `paper`, R to layer3, fine-tuned, 150 epochs, 256 px, with L_ae and trained anew with
w_ae = 0. Shown are the mean of A over all normal test images and the share of pixels above 0.5. L_ae raises it on both
sets. But on magnetic tile it ends above 0.99, where training itself warns that attention has collapsed: it is the same
everywhere and localizes nothing. On screw it ends just below. Defects are covered as well, see the rows of `paper` in
the [paper tables](paper-tables.md). So that attention covers what is normal, and it alone, is not shown.
"""
CONTRAST = """
`cavga benchmark fig4`: mean IoU of anomalous images by the contrast of their defect, screw and magnetic tile
together, the runs of Table 3. The contrast is the difference in mean grey from a ring round the defect, in standard
deviations of the image. In brackets is the number of images.
"""
CORRELATION = """
Spearman's rank correlation of contrast and IoU, the size of the defect held fixed, and its 95 % interval. The paper
says that low contrast is where it fails, so the correlation should be positive.
"""
CLASS_MAPS = """
`python -m studies.class_maps`: runs of Table 8 cut to 5 epochs and of the variants, magnetic tile. Shown are the
correlation of the two classes' maps before the sigmoid (mean over the test images), and mean attention of A^cn
(normal) and A^ca (anomalous).
"""


def figures() -> Page:
    """The page of fig1, fig4 and class_maps."""
    attention, failures = read_result("fig1"), read_result("fig4")
    covered = {
        row["model"]: row["mean"] for row in attention["coverage"] if row["place"] == SCREW and row["map"] == "A"
    }
    rho = {model: found["size_held_fixed"]["rho"] for model, found in failures["rank_correlation"].items()}
    maps = read_result("class_maps")["rows"]
    chosen = mean(row["correlation"] for row in maps if row["cell"] == "c8: r-w, conv z, L_cga")
    return Page(
        "The paper's figures",
        "Do our runs show what the paper's Figures 1 and 4 show: attention that covers, and failure at low contrast?",
        f"On screw L_ae takes the mean of A from {covered['r-u, paper, without L_ae']:.3f} to "
        f"{covered['r-u, paper']:.3f}, and both classes' maps correlate at {chosen:.3f}. Contrast and IoU correlate at "
        f"{rho['r-u, recommended']:.2f} for `recommended` r-u, as the paper says they do, and at "
        f"{rho['r-u, paper']:.2f} for `paper`.",
        (coverage(attention), contrast(failures), class_maps(maps)),
    )


def coverage(content: dict[str, Any]) -> str:
    """The section of fig1: the coverage of r-u's attention with and without L_ae."""
    lines = [
        [row["place"], row["model"], str(row["images"]), f"{row['mean']:.3f}", f"{100 * row['share_above_half']:.1f} %"]
        for row in content["coverage"]
        if row["map"] == "A"
    ]
    head = ["", "", "normal test images", "mean of A", "A above 0.5"]
    return f"## Figure 1: what L_ae does to attention\n{COVERAGE}\n{markdown(head, lines)}"


def contrast(content: dict[str, Any]) -> str:
    """The section of fig4: a line a model, a column a bin of contrast."""
    lines, correlations = [], []
    for model, bins in content["bins"].items():
        lines.append([model, *(f"{one['iou']:.3f} ({one['images']})" for one in bins)])
        found = content["rank_correlation"][model]["size_held_fixed"]
        low, high = found["interval"]
        correlations.append([model, f"{found['rho']:.2f}", f"{low:.2f} to {high:.2f}"])
    first = next(iter(content["bins"].values()))
    by_bin = markdown(["IoU (images)", *(one["contrast"] for one in first)], lines)
    return (
        f"## Figure 4: where it fails\n{CONTRAST}\n{by_bin}{CORRELATION}\n"
        f"{markdown(['', 'correlation', '95 %'], correlations)}"
    )


def class_maps(rows: Sequence[dict[str, Any]]) -> str:
    """The section of class_maps: what the attention of both classes looks like."""
    columns = ("correlation", "normal_of_normal", "anomalous_of_normal", "normal_of_bad", "anomalous_of_bad")
    lines = []
    for name in dict.fromkeys(row["cell"] for row in rows):
        of_name = [row for row in rows if row["cell"] == name]
        lines.append([in_words(name), *(show(row[column] for row in of_name) for column in columns)])
    head = ["run", "correlation", "A^cn, normal", "A^ca, normal", "A^cn, anomalous", "A^ca, anomalous"]
    return f"## Figure 1 (b): the attention of both classes\n{CLASS_MAPS}\n{markdown(head, lines)}"
