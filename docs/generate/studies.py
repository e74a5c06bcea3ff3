"""Sections of docs/results.md whose tables are not rows of cells: map limits, contamination, installation."""

from collections.abc import Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from cavga.benchmark.tables.files import markdown_grid
from cavga.benchmark.tables.grids import make_grids
from cavga.benchmark.tables.reported import load_reported

LIMITS = """`python benchmarks/map_limits.py`. **Grids**: an oracle that knows the anomalous share of each of N x N
cells, masks at {size} px, enlarged bilinearly and cut at the one threshold that is best for the row (a defect type by
itself has its own). "Constant" is the same with cells left as they are: there no map of N x N cells does better over
all pixels at once. Interpolated maps are not proven to be the best. R to layer4 gives 8 x 8 cells at 256 px, to
layer3 16 x 16. The IoU of 0.48 reported (recalled) for CAVGA-R_u on screw is more than twice what this oracle reaches
with 8 x 8 cells and above what it reaches with 16 x 16. Per image neither kind is a bound: one threshold has to suit
large and small defects.
"""
SIGNS = """**Both signs of attention**: R_u as `paper` has it but on layer3 alone, frozen, ImageNet, {px} px (8 x 8
cells), the attention of the sum of mu, before any training ({seeds} seeds) and after {epochs} epoch (one seed). The
paper reads low attention as anomalous; "high" is the negative of the same map. **Feature distance** is the control:
the Euclidean distance of the same features from their mean at that position over the training images. An image's
score is the mean of a map's highest 1 %. Untrained attention is a sum of features with random weights, so its sign is
random too: over seeds pixel AUROC lies on either side of one half. One epoch starts from seed 0 and moves the set's
pixel AUROC by less than 0.01; which way attention points after 150 epochs is not tested here.
"""
STUDY = """`python benchmarks/study.py`: R to layer3, frozen, ImageNet, {size} px, seed 0, four fifths of the good
training images. Image / pixel AUROC on anomalies of the self-test's kinds made on the other fifth ("made": what the
choice was made on) and on the real test images ("test": diagnosis). The map is smoothed by one cell in every row. A
third figure is the IoU at what a tenth of the held-out images reach anywhere.
"""
ONE_CLASS = """`cavga benchmark table7 --datasets mnist,fashion_mnist,cifar10 --seeds 0,1,2`: one class is normal, the
test is the whole official one, image AUROC. 32 px, decoder 32 channels wide, one epoch of d-u and four of the
controls (gamma-VAE_g two): what one core does in about four minutes a row. {num_cells} cells, {devices}, up to 15 at
a time. MNIST has three seeds; of the other sets three classes have a second one, and of d-u a third. CIFAR-10 is from
JPEG files, which are lossy. How the settings of `recommended` were chosen: [decision
0019](decisions/0019-small-images.md).
"""
CONTAMINATION_COLUMNS = (
    ("image AUROC", "image", "auroc"),
    ("pixel AUROC", "pixel", "auroc"),
    ("recall", "image", "recall"),
    ("false alarms", "image", "false_alarm_rate"),
)


def factors(content: dict[str, Any]) -> str:
    """The section of study.json: one row a setting, one pair of columns a data set and kind of anomaly."""
    rows = content["rows"]
    sets = list(dict.fromkeys(row["data"] for row in rows))
    head = ["", "", *(f"{data.split('/')[-1]}, {kind}" for kind in ("made", "test") for data in sets)]
    lines = []
    for experiment, setting in dict.fromkeys((row["experiment"], row["setting"]) for row in rows):
        found = {r["data"]: r for r in rows if (r["experiment"], r["setting"]) == (experiment, setting)}
        values = [_pair(found[data], kind) if data in found else "-" for kind in ("made", "test") for data in sets]
        lines.append([experiment, setting, *values])
    return (
        f"## One factor at a time on frozen features\n\n{STUDY.format(size=content['size'])}\n{markdown(head, lines)}"
    )


def one_class_normal(content: dict[str, Any]) -> str:
    """The section of table7.json: grids beside the paper's figures."""
    rows, reported = content["rows"], load_reported("table7")
    devices = " and ".join(sorted({f"on {row['metrics']['provenance']['device']}" for row in rows if not row["error"]}))
    parts = [f"## {reported.title}\n\n{ONE_CLASS.format(num_cells=len(rows), devices=devices)}"]
    parts += [f"### {grid.title}\n\n{markdown_grid(grid)}\n" for grid in make_grids(rows, reported)]
    return "\n".join([*parts, f"† {reported.mark} ({reported.source}).\n"])


def _pair(row: dict[str, Any], kind: str) -> str:
    """Image and pixel AUROC, and where it is measured the IoU."""
    keys = [f"{kind}_image", f"{kind}_pixel", *([f"{kind}_iou"] if f"{kind}_iou" in row else [])]
    return " / ".join("-" if row[key] is None else f"{row[key]:.3f}" for key in keys)


def map_limits(content: dict[str, Any]) -> str:
    """The section of map_limits.json."""
    grids, cells = content["grids"], sorted({row["cells"] for row in content["grids"]})
    parts = [
        "## What a coarse map can reach, and which way attention points\n",
        LIMITS.format(size=content["mask_size"]),
    ]
    head = ["", "images", "anomalous pixels", *(f"{n} x {n}" for n in cells)]
    for title, kind, what in (
        ("IoU over all pixels", "bilinear", "dataset"),
        ("IoU, mean per image", "bilinear", "per_image"),
        ("IoU over all pixels, cells constant", "constant", "dataset"),
    ):
        lines = []
        for name in dict.fromkeys(row["set"] for row in grids):
            of_set = {row["cells"]: row for row in grids if row["set"] == name}
            first = of_set[cells[0]]
            values = (f"{of_set[n][f'{kind}_{what}']:.3f}" for n in cells)
            lines.append([name, str(first["images"]), f"{100 * first['anomalous_share']:.2f} %", *values])
        parts.append(f"### {title}\n\n{markdown(head, lines)}")
    settings = content["attention"]
    text = SIGNS.format(px=settings["image_size"], seeds=len(settings["seeds_untrained"]), epochs=settings["epochs"])
    return "\n".join([*parts, "### Low or high attention, and distance\n", text, _signs(content["signs"])])


def _signs(rows: Sequence[dict[str, Any]]) -> str:
    """AUROC of each map and of its negative: images of a set, pixels of a set and of its defect types."""
    names = [what for what in dict.fromkeys(row["what"] for row in rows) if what.startswith("low")]
    head = [
        "",
        *(f"{sign}{name.removeprefix('low')}" for name in names for sign in ("low", "high")),
        "feature distance",
    ]
    lines = []
    for data in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == data]
        columns = [*((name, sign) for name in names for sign in ("map", "negative")), ("feature distance", "map")]
        by_column = [[row[sign] for row in of_set if row["what"] == what] for what, sign in columns]
        lines.append([f"{data}: images", *(_show(found["image"] for found in column) for column in by_column)])
        for part in of_set[0]["map"]["pixel"]:
            shown = (_show(found["pixel"][part] for found in column) for column in by_column)
            lines.append([f"{part}: pixels", *shown])
    return markdown(head, lines)


CONTAMINATION = """128 px, `cavga benchmark contamination`: `recommended` and the controls on the same features, when
some of the images labelled good are defective test images. They are added to the good ones, and held-out images for
thresholds are drawn from the mixture; the share is bad / (good + bad). All images of the largest share leave the test
of every cell, so a data set and seed has one test set. Seed 0 of magnetic tile was run on one core, the rest on a
GPU. On magnetic tile a place is shown in up to six exposures, so that the test holds other exposures of places that
were labelled good.
"""


BASE_INSTALL = """`make test-base`: `pip install .` without extras in a fresh environment; bytecode is counted, pip is
not. Scores are those of `cavga predict` there with an exported model ({count} photographs, `recommended`, 64 px, no
weights) against torch's. That command took {seconds:.1f} s on a shared machine. Python {python} on {platform};
{packages}; torch {torch}.
"""


def base_install(content: dict[str, Any]) -> str:
    """The section of base_install.json."""
    packages = ", ".join(f"{name} {version}" for name, version in content["packages"].items())
    text = BASE_INSTALL.format(
        count=content["photographs"], seconds=content["predict_seconds"], packages=packages, **content["machine"]
    )
    lines = [
        [row["what"], f"{row['value']:.3g}", f"{row['goal']:g}", "yes" if row["within"] else "no"]
        for row in content["rows"]
    ]
    return f"## Predicting without torch\n\n{text}\n{markdown(['', 'measured', 'at most', 'within'], lines)}"


def contamination(content: dict[str, Any]) -> str:
    """The section of contamination.json: a line per method, a column per share."""
    rows = content["rows"]
    shares = sorted({row["contamination"] for row in rows})
    head = ["", *(f"{title}, {100 * share:g} %" for title, _, _ in CONTAMINATION_COLUMNS for share in shares), "seeds"]
    parts = [f"## Bad images among the good ones\n\n{CONTAMINATION}"]
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        lines = []
        for method in dict.fromkeys(_method(row) for row in of_data):
            found = [row for row in of_data if _method(row) == method]
            done = [[row for row in found if row["contamination"] == share and not row["error"]] for share in shares]
            values = [
                _show(value for row in of_share if (value := row["metrics"][section][key]) is not None)
                for _, section, key in CONTAMINATION_COLUMNS
                for of_share in done
            ]
            lines.append([method, *values, ", ".join(map(str, sorted({row["seed"] for row in found})))])
        parts.append(f"### {data}\n\n{markdown(head, lines)}")
    return "\n".join(parts)


def class_maps(rows: list[dict[str, Any]]) -> str:
    """The section of class_maps.json."""
    columns = ("correlation", "normal_of_normal", "anomalous_of_normal", "normal_of_bad", "anomalous_of_bad")
    lines = [
        "## What the classes' attention looks like\n",
        "`python benchmarks/class_maps.py` on runs of Table 8 cut to 5 epochs and of the variants, magnetic tile: "
        "correlation of the two classes' maps before the sigmoid (mean over the test images), and mean attention.\n",
        "| run | correlation | A^cn, normal | A^ca, normal | A^cn, anomalous | A^ca, anomalous |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(row["cell"] for row in rows):
        of_name = [row for row in rows if row["cell"] == name]
        shown = (_show([row[column] for row in of_name if row[column] is not None]) for column in columns)
        lines.append("| " + " | ".join([name, *shown]) + " |")
    return "\n".join(lines) + "\n"


def _method(row: dict[str, Any]) -> str:
    """The name of a cell without its share."""
    return row["cell"].rpartition(", ")[0]


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _show(values: Iterable[float]) -> str:
    found = list(values)
    if not found:
        return "-"
    text = f"{mean(found):.3f}"
    return f"{text} ± {stdev(found):.3f}" if len(found) > 1 else text
