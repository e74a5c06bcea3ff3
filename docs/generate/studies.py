"""Pages about studies whose rows are not one metric a column: training data, factors, map limits."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from benchmarks.result_files import read_result
from cavga.benchmark.tables.reported import load_reported
from docs.generate.tables import FULL, IMAGE, PIXEL, SCREW, TILE, Metric, Page, Row, in_words, markdown, of, show

CURVE = """
`cavga benchmark data-curve`: magnetic tile, 128 px, that many normal training images drawn by seed {seeds}, the whole
test. Shown are image / pixel AUROC. `paper` is R_u to layer3, fine-tuned, 2400 steps of 16 images whatever their
number, with and without L_ae. No score of `recommended` reads what Eq. 4 trains, so L_ae changes none there.
{devices}.
"""
CONTAMINATION = """
`cavga benchmark contamination`, 128 px: `recommended` and the baselines on the same features, when some of the images
labelled good are anomalous test images.

- They are added to the normal ones, and held-out images for thresholds are drawn from the mixture. The share is
  anomalous / (normal + anomalous).
- All images of the largest share leave the test of every run, so a data set and seed has one test set.
- Seed 0 of magnetic tile ran on one core, the rest on a GPU.
- On magnetic tile a place is shown in up to six exposures. So the test holds other exposures of places that were
  labelled good.
"""
CONTAMINATION_COLUMNS: tuple[tuple[str, Metric], ...] = (
    ("image AUROC", IMAGE),
    ("pixel AUROC", PIXEL),
    ("recall", ("image", "recall")),
    ("false alarms", ("image", "false_alarm_rate")),
)
STUDY = """
`python -m studies.factors.study`: R to layer3, frozen, ImageNet weights, {size} px, seed 0, four fifths of the normal
training images. The map is smoothed by one patch in every row. Shown are image / pixel AUROC; a third figure is the
IoU at what a tenth of the held-out images reach anywhere.
"""
SYNTHETIC = (
    "Anomaly types of the self-test, on the other fifth of the normal training images. The choice was made on these, "
    "but for the factor model: in the image's score they speak against it."
)
REAL = (
    "The real test images. These figures are for diagnosis. They agreed with taking the factor model, which synthetic "
    "anomalies did not ([decision 0011](../decisions/0011-aggregated-prior.md)), and decided nothing else here."
)
LIMITS = """
`python -m studies.map_limits`: an oracle knows the anomalous share of each of N x N patches, masks at {size} px. It
is enlarged bilinearly and cut at the one threshold that is best for the row. A defect type by itself has its own.

- **Constant** is the same with patches left as they are. There no map of N x N patches does better over all pixels at
  once. Interpolated maps are not proven to be the best.
- **R** to layer4 gives 8 x 8 patches at 256 px, to layer3 16 x 16.
- **Per image** neither is a bound: one threshold has to suit large and small defects.
"""
SIGNS = """
R_u as `paper` has it, but on layer3 alone, frozen, ImageNet weights, {px} px (8 x 8 patches): the attention of the
sum of mu, before any training ({seeds} seeds) and after {epochs} epoch (one seed).

- **Low or high.** The paper reads low attention as anomalous; "high" is the negative of the same map.
- **Feature distance** is the baseline: the Euclidean distance of the same features from their mean at that position
  over the training images.
- **An image's score** is the mean of a map's highest 1 %.
- **Untrained** attention is a sum of features with random weights, so its sign is random too: over seeds pixel AUROC
  lies on either side of one half.
- **One epoch** starts from seed 0 and moves the set's pixel AUROC by less than 0.01. Which way attention points after
  150 epochs is not tested here.
"""


def training_data() -> Page:
    """The page of data-curve and contamination."""
    curve, mixed = read_result("data-curve")["rows"], read_result("contamination")["rows"]
    few, most = (
        of([row for row in curve if row["num_images"] == number], FULL, IMAGE)
        for number in (curve[0]["num_images"], curve[-1]["num_images"])
    )
    shares = sorted({row["contamination"] for row in mixed})
    clean, worst = (_contaminated(mixed, "r-s", share) for share in (shares[0], shares[-1]))
    return Page(
        "Training data: how much, and how clean",
        "How many normal images does the default need, and what do anomalous images among them cost?",
        f"On magnetic tile image AUROC of `r-s` rises from {few:.3f} with {curve[0]['num_images']} images to "
        f"{most:.3f} with all. {100 * shares[-1]:g} % of anomalous images in training take it from {clean[TILE]:.3f} "
        f"to {worst[TILE]:.3f} there and from {clean[SCREW]:.3f} to {worst[SCREW]:.3f} on screw.",
        (data_curve(curve), contamination(mixed)),
    )


def _contaminated(rows: Sequence[Row], method: str, share: float) -> dict[str, float]:
    found = [row for row in rows if _method(row) == method and row["contamination"] == share]
    return {data: of(found, found[0]["cell"], IMAGE, data) for data in (TILE, SCREW)}


def data_curve(rows: Sequence[Row]) -> str:
    """A line a method, a column a number of images."""
    done = [row for row in rows if not row["error"]]
    numbers = list(dict.fromkeys(row["num_images"] for row in done))
    lines = []
    for name in dict.fromkeys(row["cell"] for row in done):
        found = {row["num_images"]: row["metrics"] for row in done if row["cell"] == name}
        shown = (f"{found[number]['image']['auroc']:.3f} / {found[number]['pixel']['auroc']:.3f}" for number in numbers)
        lines.append([name, *shown])
    seeds = ", ".join(map(str, sorted({row["seed"] for row in done})))
    devices = ", ".join(sorted({row["metrics"]["provenance"]["device"] for row in done}))
    text = CURVE.format(seeds=seeds, devices=f"Device: {devices}")
    return f"## How many normal images it takes\n{text}\n{markdown(['', *map(str, numbers)], lines)}"


def contamination(rows: Sequence[Row]) -> str:
    """A line a metric and method, a column a share."""
    shares = sorted({row["contamination"] for row in rows})
    parts = [f"## Anomalous images among the normal ones\n{CONTAMINATION}"]
    for data in dict.fromkeys(row["data"] for row in rows):
        of_data = [row for row in rows if row["data"] == data]
        lines = []
        for title, (section, key) in CONTAMINATION_COLUMNS:
            for method in dict.fromkeys(_method(row) for row in of_data):
                found = [row for row in of_data if _method(row) == method and not row["error"]]
                shown = (
                    show(row["metrics"][section][key] for row in found if row["contamination"] == share)
                    for share in shares
                )
                lines.append([title, method, *shown])
        seeds = ", ".join(map(str, sorted({row["seed"] for row in of_data})))
        head = ["", "", *(f"{100 * share:g} %" for share in shares)]
        parts.append(f"### {data}\n\n{markdown(head, lines)}\nSeeds: {seeds}.\n")
    return "\n".join(parts)


def _method(row: Row) -> str:
    """The name of an experiment without its share."""
    name: str = row["cell"].rpartition(", ")[0]
    return name


def factors() -> Page:
    """The page of study: a line a setting, a column a data set, once for synthetic anomalies and once for real ones."""
    content = read_result("study")
    rows = content["rows"]
    first = [row for row in rows if row["setting"] == rows[0]["setting"] and row["experiment"] == rows[0]["experiment"]]
    joined = [row for row in rows if row["experiment"] == "border" and row["setting"] == _first(rows, "border")]
    before, after = (
        " / ".join(f"{mean(row[f'made_{what}'] for row in found):.3f}" for what in ("image", "pixel"))
        for found in (first, joined)
    )
    return Page(
        "One factor at a time",
        "Which energy, latent, image score and factor model place and rank anomalies best on frozen features?",
        f"The mixture alone has an image / pixel AUROC of {before} on synthetic anomalies (means over the sets). With "
        f"the factor model and scales by distance from the border, as taken, it is {after}. "
        "[Decision 0020](../decisions/0020-the-study.md) and [0021](../decisions/0021-border.md) say what was taken.",
        (
            f"## How it was measured\n{STUDY.format(size=content['size'])}",
            f"## Synthetic anomalies\n\n{SYNTHETIC}\n\n{_by_setting(rows, 'made')}",
            f"## Real test images\n\n{REAL}\n\n{_by_setting(rows, 'test')}",
        ),
    )


def _first(rows: Sequence[Row], experiment: str) -> str:
    return next(row["setting"] for row in rows if row["experiment"] == experiment)


def _by_setting(rows: Sequence[Row], anomalies: str) -> str:
    sets = list(dict.fromkeys(row["data"] for row in rows))
    lines = []
    for experiment, setting in dict.fromkeys((row["experiment"], row["setting"]) for row in rows):
        found = {r["data"]: r for r in rows if (r["experiment"], r["setting"]) == (experiment, setting)}
        shown = (_figures(found[data], anomalies) if data in found else "-" for data in sets)
        lines.append([in_words(experiment), in_words(setting), *shown])
    return markdown(["", "", *(data.split("/")[-1] for data in sets)], lines)


def _figures(row: Row, anomalies: str) -> str:
    """Image and pixel AUROC, and where it is measured the IoU."""
    keys = [f"{anomalies}_image", f"{anomalies}_pixel"]
    keys += [f"{anomalies}_iou"] if f"{anomalies}_iou" in row else []
    return " / ".join(show([row[key]]) for key in keys)


def map_limits() -> Page:
    """The page of map_limits: what an oracle reaches, and both signs of attention."""
    content = read_result("map_limits")
    grids = content["grids"]
    of_screw = {row["cells"]: row["bilinear_dataset"] for row in grids if row["set"] == SCREW}
    coarse, finer = sorted(of_screw)[:2]
    distance = next(row for row in content["signs"] if row["set"] == SCREW and row["what"] == "feature distance")
    reported = load_reported("table3").grids[0].figures["screw", "CAVGA-R_u"].value
    settings = content["attention"]
    text = SIGNS.format(px=settings["image_size"], seeds=len(settings["seeds_untrained"]), epochs=settings["epochs"])
    return Page(
        "What a coarse map can reach, and which way attention points",
        "How good can a map of few patches be, and is low attention anomalous before the model is trained?",
        f"On screw an oracle reaches an IoU of {of_screw[coarse]:.2f} with {coarse} x {coarse} patches and "
        f"{of_screw[finer]:.2f} with {finer} x {finer}; the paper reports {reported:.2f} for CAVGA-R_u (recalled). "
        "Untrained attention has no sign; the plain distance of the same features has a pixel AUROC of "
        f"{distance['map']['pixel'][SCREW]:.2f} there.",
        (
            f"## What an oracle reaches\n{LIMITS.format(size=content['mask_size'])}",
            *_grids(grids),
            f"## Low or high attention, and distance\n{text}\n{_signs(content['signs'])}",
        ),
    )


def _grids(grids: Sequence[dict[str, Any]]) -> Iterable[str]:
    sizes = sorted({row["cells"] for row in grids})
    head = ["", "images", "anomalous pixels", *(f"{n} x {n}" for n in sizes)]
    for title, key in (
        ("IoU over all pixels", "bilinear_dataset"),
        ("IoU, mean per image", "bilinear_per_image"),
        ("IoU over all pixels, patches constant", "constant_dataset"),
    ):
        lines = []
        for name in dict.fromkeys(row["set"] for row in grids):
            of_set = {row["cells"]: row for row in grids if row["set"] == name}
            first = of_set[sizes[0]]
            shown = (f"{of_set[n][key]:.3f}" for n in sizes)
            lines.append([name, str(first["images"]), f"{100 * first['anomalous_share']:.2f} %", *shown])
        yield f"### {title}\n\n{markdown(head, lines)}"


def _signs(rows: Sequence[dict[str, Any]]) -> str:
    """AUROC of each map and of its negative: images of a set, pixels of a set and of its defect types."""
    names = [what for what in dict.fromkeys(row["what"] for row in rows) if what.startswith("low")]
    signs = [f"{sign}{name.removeprefix('low')}" for name in names for sign in ("low", "high")]
    lines = []
    for data in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == data]
        columns = [*((name, sign) for name in names for sign in ("map", "negative")), ("feature distance", "map")]
        by_column = [[row[sign] for row in of_set if row["what"] == what] for what, sign in columns]
        lines.append([f"{data}: images", *(show(found["image"] for found in column) for column in by_column)])
        for part in of_set[0]["map"]["pixel"]:
            lines.append([f"{part}: pixels", *(show(one["pixel"][part] for one in column) for column in by_column)])
    return markdown(["", *signs, "feature distance"], lines)
